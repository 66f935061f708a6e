"""Spans of jobs for OpenTelemetry. Needs the extra ``opentelemetry``.

This package imports OpenTelemetry's API, which sends nothing by itself: a program adds the SDK and
an exporter. It also imports `zoolet.jobs.hooks` and `zoolet.console`.
"""

from zoolet.console.extras import explain_import

try:
    from zoolet.jobs.telemetry.spans import OpenTelemetryHooks
except ImportError as error:
    advice = explain_import(error)
    if advice is None:
        raise
    raise ImportError(advice, name=error.name) from error

__all__ = ["OpenTelemetryHooks"]
