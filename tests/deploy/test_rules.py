"""Prometheus scrapes what runs, its rules speak of what is measured, and every alert leads on."""

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest

from shared.events.inference import FailureReason
from tests.deploy.composed import FOLDER, interpolated, ours, services
from tests.house.sources import ROOT

Json = dict[str, Any]

PROMETHEUS = FOLDER / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = Path(__file__).with_name("rules_test.yml")
PAGES = ROOT / "docs" / "operations"

ADDED_BY_PROMETHEUS = {"job", "service", "instance", "__name__"}
SELECTOR = re.compile(r"\b((?:roundhouse|up)(?:[a-z0-9_:]*))\b(?:\{([^}]*)\})?")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here (Debian: apt install prometheus)"
)


def rules() -> list[Json]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[Json]:
    return [rule for rule in rules() if "alert" in rule]


def measured() -> dict[str, set[str]]:
    """Every metric that a service exports, with its labels."""
    for path in ROOT.glob("services/*/metrics.py"):
        import_module(f"services.{path.parent.name}.metrics")
    import_module("shared.telemetry")
    return {
        name: set(getattr(collector, "_labelnames", ()))
        for collector, names in REGISTRY._collector_to_names.items()
        for name in names
    }


def promtool(*arguments: str | Path, **options: Any) -> None:
    command = ["promtool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr


each_rule = pytest.mark.parametrize(
    "rule", rules(), ids=lambda rule: rule.get("alert", rule.get("record"))
)
each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])


@needs_promtool
def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_prometheus_finds_no_fault_with_what_is_measured(tmp_path: Path) -> None:
    measured()
    page = tmp_path / "page"
    page.write_bytes(generate_latest())

    with page.open() as given:
        promtool("check", "metrics", stdin=given)


@needs_promtool
def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    tests = tmp_path / "rules_test.yml"
    tests.write_text(TESTS.read_text().replace("{RULES}", str(PROMETHEUS / "rules")))

    promtool("test", "rules", tests)


def test_every_service_is_scraped_at_its_port() -> None:
    (job, *_) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}

    listening = {
        name: interpolated(each["environment"]["ROUNDHOUSE_PORT"], {})
        for name, each in ours().items()
    }
    assert scraped == listening


def test_every_service_is_missed_when_it_is_gone() -> None:
    (down,) = [alert for alert in alerts() if alert["alert"] == "ServiceDown"]

    assert set(re.findall(r'absent\(up\{[^}]*service="([a-z-]+)"', down["expr"])) == set(ours())


@each_rule
def test_a_rule_speaks_of_what_is_measured(rule: Json) -> None:
    known = measured()
    recorded = {each["record"] for each in rules() if "record" in each}
    used = SELECTOR.findall(rule["expr"])

    assert used
    for name, selector in used:
        labels = set(re.findall(r"(\w+)\s*[=!]", selector))
        if name == "up":
            assert labels <= ADDED_BY_PROMETHEUS
        elif ":" in name:
            assert name in recorded
        else:
            assert name in known, f"nobody measures {name}"
            assert labels <= known[name] | ADDED_BY_PROMETHEUS, name


@each_rule
def test_a_rule_names_reasons_and_groups_that_exist(rule: Json) -> None:
    for label, known in {
        "reason": {str(reason) for reason in FailureReason},
        "group": set(services()),
    }.items():
        for values in re.findall(rf'\b{label}[=!]~?"([^"]+)"', rule["expr"]):
            assert set(values.split("|")) <= known


@each_alert
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: Json) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()


@each_alert
def test_an_alert_is_tested_both_ways(alert: Json) -> None:
    told = [
        bool(case["exp_alerts"])
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == alert["alert"]
    ]
    assert set(told) == {True, False}


def test_every_page_belongs_to_an_alert_and_has_the_same_parts() -> None:
    named = {alert["annotations"]["runbook_url"].rpartition("/")[2] for alert in alerts()}
    pages = {path.name: path.read_text() for path in PAGES.glob("*.md") if path.stem != "README"}

    assert pages.keys() == named
    for name, page in pages.items():
        assert re.findall(r"(?m)^## (.+)$", page) == ["What it means", "Look", "Do"], name
        assert name in (PAGES / "README.md").read_text()
