"""Who may use the page: users, logins, tokens, the guard before all pages, the audit."""
