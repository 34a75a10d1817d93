"""A directory for the local tools, beside one that must stay out of their reach."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeloop_client.contents import Contents
from edgeloop_client.errors import ToolError
from edgeloop_client.held import Held
from edgeloop_client.tools import LOCAL_TOOLS
from edgeloop_client.tools.base import Cancel, Workspace, to_json
from edgeloop_client.tools.root import Root

Json = dict[str, Any]


def workspace_in(root: Path, home: Path) -> Workspace:
    """A workspace of a directory, its state kept elsewhere."""
    return Workspace(root=Root(root), outputs=home / "outputs", held=Held(Contents(home / "versions")))


@dataclass(frozen=True)
class At:
    """A directory `root` with a neighbour `outside` that must stay out of reach."""

    root: Path
    outside: Path
    workspace: Workspace

    @classmethod
    def make(cls, folder: Path) -> "At":
        """Both, empty but for a secret outside."""
        root, outside = folder / "root", folder / "outside"
        root.mkdir()
        outside.mkdir()
        (outside / "secret").write_text("the secret\n")
        return cls(root, outside, workspace_in(root, folder))

    def call(self, name: str, cancel: Cancel | None = None, **arguments: Any) -> Json:
        """Call a tool as the runner does, by its JSON."""
        tool = LOCAL_TOOLS[name]
        output = tool.run(self.workspace, tool.parse(json.dumps(arguments)), cancel or Cancel())
        return json.loads(to_json(output))

    def refused(self, name: str, **arguments: Any) -> str:
        """The error of a call that must fail."""
        with pytest.raises(ToolError) as raised:
            self.call(name, **arguments)
        return str(raised.value)
