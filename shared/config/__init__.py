"""roundhouse.yaml: its models, how it is read, and what in it makes no sense."""

from shared.config.document import ConfigError, Problem
from shared.config.endpoints import EndpointConfig
from shared.config.lint import Finding, lint
from shared.config.models import (
    ANY,
    AUTO,
    HEURISTIC_PREFIX,
    IDLE_UNLOAD_S,
    TASK_PREFIX,
    TINY,
    AttemptLimits,
    Config,
    EngineConfig,
    HeuristicConfig,
    HeuristicRule,
    ModelConfig,
    NodeConfig,
    PriorityConfig,
    TaskConfig,
    Timing,
)
from shared.config.parse import load_config, locate, parse_config
from shared.config.stores import AuditConfig, StoresConfig

__all__ = [
    "ANY",
    "AUTO",
    "HEURISTIC_PREFIX",
    "IDLE_UNLOAD_S",
    "TASK_PREFIX",
    "TINY",
    "AttemptLimits",
    "AuditConfig",
    "Config",
    "ConfigError",
    "EndpointConfig",
    "EngineConfig",
    "Finding",
    "HeuristicConfig",
    "HeuristicRule",
    "ModelConfig",
    "NodeConfig",
    "PriorityConfig",
    "Problem",
    "StoresConfig",
    "TaskConfig",
    "Timing",
    "lint",
    "load_config",
    "locate",
    "parse_config",
]
