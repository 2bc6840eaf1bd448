# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run did what, what it waited for, and which of it decided how long the run took: as a picture."""

from __future__ import annotations

import typing as t
from xml.sax.saxutils import escape, quoteattr

# What AWS makes while the run goes on, by the role that starts it and waits for it: its name, and the module that starts it.
MADE_MEANWHILE = {
    "network": ("NAT gateways", "amazon.aws.ec2_vpc_nat_gateway"),
    "rds": ("database", "mlops.mlflow_aws.rds_postgres"),
    "alb": ("load balancer", "mlops.mlflow_aws.application_load_balancer"),
    "tls": ("certificate", "mlops.mlflow_aws.domain_certificate"),
}
# A step as long as this has a row of its own; a wait that is shorter found what it waited for ready.
LONG_SECONDS = 3.0

ROW, TOP, LABELS, CHART, TIMES, LETTER = 24, 64, 330, 760, 110, 7.2
STEPS_COLOUR, AWS_COLOUR, CRITICAL_COLOUR, LINE_COLOUR = "#94a3b8", "#60a5fa", "#c2410c", "#e2e8f0"


class Step(t.NamedTuple):
    """A task as one host ran it. Times are seconds since the run began; `file` is the file of tasks, without its ending."""

    role: str
    file: str
    name: str
    action: str
    started: float
    ended: float
    changed: bool = False

    @property
    def is_long(self) -> bool:
        return self.ended - self.started >= LONG_SECONDS


class Making(t.NamedTuple):
    """A thing in the making on AWS, with the places of the steps that started it and that waited for it."""

    name: str
    start: int
    join: int


class Bar(t.NamedTuple):
    label: str
    started: float
    ended: float
    critical: bool
    on_aws: bool


def makings(steps: list[Step]) -> list[Making]:
    """What AWS made while the run went on. What was there already is not among it."""
    found = []
    for role, (name, action) in MADE_MEANWHILE.items():
        starts = [place for place, step in enumerate(steps) if step.role == role and step.action == action and step.changed]
        joins = [place for place, step in enumerate(steps) if step.role == role and step.file == "wait"]
        if starts and joins and starts[0] < joins[0]:
            found.append(Making(name, starts[0], joins[0]))
    return sorted(found, key=lambda making: making.start)


def critical(steps: list[Step], made: list[Making]) -> tuple[set[int], set[Making]]:
    """The steps and the makings without which the run would have been shorter, found from its end back to its beginning."""
    waited = {making.join: making for making in made if steps[making.join].is_long}
    path, decisive, place = set(), set(), len(steps) - 1
    while place >= 0:
        path.add(place)
        making = waited.get(place)
        if making:
            decisive.add(making)
            place = making.start
        else:
            place -= 1
    return path, decisive


def bars(steps: list[Step]) -> list[Bar]:
    """The rows of the picture. Short steps of one role that follow each other share one."""
    made = makings(steps)
    path, decisive = critical(steps, made)
    started = {making.start: making for making in made}
    rows: list[Bar] = []
    last: tuple[str, bool] | None = None
    for place, step in enumerate(steps):
        kind = (step.role or "the playbook", place in path)
        if step.is_long:
            rows.append(Bar(f"{kind[0]}: {step.name}", step.started, step.ended, kind[1], False))
            last = None
        elif kind == last:
            rows[-1] = rows[-1]._replace(ended=step.ended)
        else:
            rows.append(Bar(kind[0], step.started, step.ended, kind[1], False))
            last = kind
        making = started.get(place)
        if making:
            rows.append(Bar(f"AWS: {making.name}", step.ended, steps[making.join].ended, making in decisive, True))
            last = None
    return rows


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def mark_text(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return " ".join([f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * bool(rest)) or "0"


def interval(seconds: float) -> int:
    """Seconds between two marks of the axis, for at most nine of them."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
    return next((step for step in steps if seconds / step <= 9), 3600)


def picture(title: str, rows: list[Bar]) -> str:
    """An SVG document."""
    # A run of less than a millisecond is drawn as one.
    total = max([0.001, *(row.ended for row in rows)])
    scale = CHART / total
    width, bottom = LABELS + CHART + TIMES, TOP + ROW * len(rows)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 30}" width="{width}" height="{bottom + 30}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{bottom + 30}" fill="white"/>',
        f'<text x="12" y="22" font-size="15" font-weight="600">{escape(title)}: {duration(total)}</text>',
    ]
    legend = ((STEPS_COLOUR, "the run works"), (AWS_COLOUR, "AWS works meanwhile"), (CRITICAL_COLOUR, "critical path: what made the run this long"))
    left = 12.0
    for colour, meaning in legend:
        drawn.append(f'<rect x="{left:.0f}" y="36" width="12" height="12" rx="2" fill="{colour}"/>')
        drawn.append(f'<text x="{left + 18:.0f}" y="46">{meaning}</text>')
        left += 18 + LETTER * len(meaning) + 24
    every = interval(total)
    for mark in range(0, int(total) + 1, every):
        x = LABELS + mark * scale
        drawn.append(f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="{LINE_COLOUR}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#475569">{mark_text(mark)}</text>')
    for place, row in enumerate(rows):
        drawn += _drawn(row, TOP + ROW * place, scale)
    return "\n".join([*drawn, "</svg>", ""])


def _drawn(row: Bar, top: int, scale: float) -> list[str]:
    x, long = LABELS + row.started * scale, max((row.ended - row.started) * scale, 1.5)
    colour = CRITICAL_COLOUR if row.critical else AWS_COLOUR if row.on_aws else STEPS_COLOUR
    # Both works can be critical: what AWS does is drawn lighter, within a frame.
    opacity = ' fill-opacity="0.35"' if row.on_aws else ""
    most = int((LABELS - 24) / LETTER)
    label = row.label if len(row.label) <= most else row.label[: most - 1] + "…"
    weight = ' font-weight="600"' if row.critical else ""
    return [
        f"<g><title>{escape(row.label)}, {duration(row.ended - row.started)}</title>",
        f'<text x="12" y="{top + 14}"{weight}>{escape(label)}</text>',
        f'<rect x="{x:.1f}" y="{top + 2}" width="{long:.1f}" height="{ROW - 8}" rx="2" fill={quoteattr(colour)}{opacity} stroke="{colour}"/>',
        f'<text x="{x + long + 6:.1f}" y="{top + 14}" fill="#475569">{duration(row.ended - row.started)}</text></g>',
    ]
