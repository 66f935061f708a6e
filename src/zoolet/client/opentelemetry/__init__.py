"""Metrics and spans of a client for OpenTelemetry. Needs the extra ``opentelemetry``.

This package imports OpenTelemetry's API, which sends nothing by itself: a program adds the SDK and
an exporter. It also imports ``client/metrics``, ``model`` and ``console``.

Provisional: these names may change in any release (docs/releases.md).
"""

from zoolet.console.extras import explain_import

try:
    from zoolet.client.opentelemetry.metrics import OpenTelemetryMetrics
except ImportError as error:
    advice = explain_import(error)
    if advice is None:
        raise
    raise ImportError(advice, name=error.name) from error

__all__ = ["OpenTelemetryMetrics"]
