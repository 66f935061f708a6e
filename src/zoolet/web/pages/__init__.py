"""The pages and forms; each page is HTML or JSON."""
