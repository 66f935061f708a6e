"""The busiest clients, paths and operations of servers, for ``zoolet top`` and the web page."""
