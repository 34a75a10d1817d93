"""The local tools, and which of them there are."""

from edgeloop_client.tools import command, editing, listing, reading, searching
from edgeloop_client.tools.base import Tool

LOCAL_TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        listing.TOOL,
        reading.TOOL,
        searching.TOOL,
        editing.EDIT,
        editing.WRITE,
        command.RUN,
        command.OUTPUT,
    )
}
"""By name. All are confined to their workspace's root, except the command a person allowed."""

__all__ = ["LOCAL_TOOLS", "Tool"]
