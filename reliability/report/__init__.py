"""One self-contained HTML file from frozen results."""

from reliability.report.render import render_report

__all__ = ["render_report"]
