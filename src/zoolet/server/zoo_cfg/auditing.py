"""The settings of the audit log."""

from enum import Enum
from pathlib import Path
from typing import Final

from zoolet.server.zoo_cfg.config import AuditConfig
from zoolet.server.zoo_cfg.settings import Settings

FILE_NAME: Final = "zookeeper_audit.log"
"""The name of the audit log in the dataDir; Apache ZooKeeper's file has the same name."""

_CLASSES: Final = frozenset(
    {
        "",
        "org.apache.zookeeper.audit.Slf4jAuditLogger",
        "org.apache.zookeeper.audit.Log4jAuditLogger",
    }
)


class _Format(Enum):
    APACHE = "apache"
    JSON = "json"


class _OnFailure(Enum):
    DROP = "drop"
    STOP = "stop"


class _Mode(Enum):
    OWNER = "600"
    GROUP = "640"


def audit(settings: Settings, data_dir: Path) -> AuditConfig | None:
    """Return the settings of the audit log; None unless ``audit.enable=true``."""
    is_on = settings.flag("audit.enable")
    file = settings.text("zoolet.audit.file")
    class_name = settings.text("audit.impl.class")
    config = AuditConfig(
        file=Path(file) if file else data_dir / FILE_NAME,
        is_json=settings.choice("zoolet.audit.format", _Format) is _Format.JSON,
        max_file_bytes=1024 * settings.number("zoolet.audit.maxFileKiB"),
        period_h=settings.number("zoolet.audit.periodHours"),
        kept_files=settings.number("zoolet.audit.keptFiles"),
        mode=int(settings.choice("zoolet.audit.fileMode", _Mode).value, 8),
        stops=settings.choice("zoolet.audit.onFailure", _OnFailure) is _OnFailure.STOP,
    )
    if not is_on:
        return None
    if class_name not in _CLASSES:
        raise settings.error(
            "audit.impl.class",
            f"audit.impl.class={class_name} is not supported: zoolet cannot run Java classes."
            " Remove the line",
        )
    return config
