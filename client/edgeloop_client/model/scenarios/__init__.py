"""The programs that the model server can play, by name, each with the pace it has where nobody says otherwise."""

from dataclasses import dataclass, field
from typing import Any

from edgeloop_client.model.conversation import Run
from edgeloop_client.model.scenarios.echo import echo
from edgeloop_client.model.scenarios.script import script
from edgeloop_client.model.scenarios.survey import survey
from edgeloop_client.model.scenarios.tools import tools


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A program and its default options."""

    name: str
    run: Run
    defaults: dict[str, Any] = field(default_factory=lambda: dict[str, Any]())


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="survey", run=survey, defaults={"ttft_ms": 80, "tps": 500, "chunk_tokens": 3}),
        Scenario(name="echo", run=echo),
        Scenario(name="script", run=script),
        Scenario(name="tools", run=tools),
    )
}
DEFAULT = "survey"
