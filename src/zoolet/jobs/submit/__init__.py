"""The classes with which users submit jobs, follow batches and read results."""
