"""The znodes of a queue and all operations that change them: submit, take, end, retry a job."""
