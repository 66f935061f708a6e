"""``zoolet web``: a web page for any ZooKeeper. ``application.py`` puts its parts together."""
