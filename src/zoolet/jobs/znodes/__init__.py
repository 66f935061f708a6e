"""Where the values stand in ZooKeeper, and every change of them: submit, take, end, retry."""
