"""The housekeeping of a queue: one worker releases deferred jobs and removes ended jobs."""
