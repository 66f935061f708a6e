"""Messages for people: errors with advice, exit statuses, safe output of text from others."""
