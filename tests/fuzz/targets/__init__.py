"""All targets of the fuzzer by name."""

from tests.fuzz.targets import files, http, jobs, peers, requests, texts, top

TARGETS = {
    **requests.TARGETS,
    **peers.TARGETS,
    **files.TARGETS,
    **texts.TARGETS,
    **http.TARGETS,
    **jobs.TARGETS,
    **top.TARGETS,
}
