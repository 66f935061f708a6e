"""The connection of the job system to ZooKeeper: requests, their deadlines, and multis."""
