"""What an operator asks a server: words, HTTP, metrics, backup."""
