"""What passed between clients and an ensemble, recorded and replayed."""
