"""SASL on the server: users, exchanges of tokens, and the names of authenticated users."""
