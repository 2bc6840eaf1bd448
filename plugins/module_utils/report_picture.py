# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a deployment's architecture: frames, boxes and arrows with their places, for a wide page and for a phone."""

from __future__ import annotations

import math
import re
import typing as t

TITLE_HEIGHT, LINE_HEIGHT, PADDING, GAP = 20, 15, 8, 12
# Average width of a letter in the sizes that titles and lines have.
TITLE_LETTER, LINE_LETTER = 7.2, 6.1
# More tasks are counted, not drawn.
MOST_TASKS = 12
Part = t.Dict[str, t.Any]


class Box(t.NamedTuple):
    """What is drawn, without its place. The state is one of those of report_components."""

    title: str
    state: str
    lines: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return TITLE_HEIGHT + LINE_HEIGHT * len(self.lines) + PADDING


class Shown(t.NamedTuple):
    """All that is drawn of a deployment."""

    clients: Box
    load_balancer: Box
    internal: bool
    gateway: Box | None
    tasks: list[Box]
    service: str
    database: Box
    endpoints: Box | None
    services: list[Box]
    vpc: str
    public: str
    private: str


def shown(parts: Part, read: Part, tasks: list[Part]) -> Shown:
    balancer, network, service, database = (parts[key] for key in ("load_balancer", "network", "service", "database"))
    gateways, endpoints = network.get("nat_gateway_ids") or [], network.get("interface_endpoint_ids") or []
    web_acl, firing = read["web_acl"], [one for one in read["alarms"] if one["state"] == "ALARM"]
    drawn = [_task(one) for one in tasks[:MOST_TASKS]]
    if len(tasks) > MOST_TASKS:
        drawn.append(Box(f"and {len(tasks) - MOST_TASKS} more", "off"))
    way = f"by {len(endpoints)} interface endpoints" if endpoints else "by the NAT gateway" if gateways else "by the VPC's own way out"
    secrets = [one for key, one in parts["secrets"].items() if key.endswith("_arn") and one]
    up = balancer.get("state") == "active"
    return Shown(
        clients=Box("Clients, browsers", "off", (str(balancer.get("tracking_uri") or "no address yet"),)),
        load_balancer=Box(
            "Application Load Balancer",
            "good" if up else "bad",
            (
                ("TLS, " if read["certificate"] else "no TLS, ") + str(balancer.get("state") or "absent"),
                ", ".join(f"{one['protocol']} {one['port']}{' redirects' if one['redirects'] else ''}" for one in read["listeners"]),
                f"WAF: {web_acl['name']}" if web_acl else "WAF: off",
            ),
        ),
        internal=read["internal"],
        gateway=Box("NAT gateway", "good", (f"{len(gateways)} in use", "to the internet")) if gateways else None,
        tasks=drawn,
        service=f"ECS service on Fargate: {service.get('running_count') or 0} of {service.get('desired_count') or 0} tasks running",
        database=Box(
            "RDS for PostgreSQL",
            "good" if database.get("status") == "available" else "bad" if not database.get("status") else "warn",
            (
                str(database.get("status") or "absent"),
                " ".join(str(one) for one in (database.get("engine_version"), database.get("instance_class")) if one),
                "standby in another zone" if (read["database"] or {}).get("multi_az") else "one zone",
            ),
        ),
        endpoints=Box("Interface endpoints", "good", (f"{len(endpoints)} in use",)) if endpoints else None,
        services=[
            Box(
                "S3: artifacts",
                "good" if parts["artifacts"].get("bucket") else "bad",
                (
                    str(parts["artifacts"].get("bucket") or "absent"),
                    "by the S3 endpoint" if network.get("s3_endpoint_id") else way,
                ),
            ),
            Box("Secrets Manager", "good" if secrets else "bad", (f"{len(secrets)} secrets, by reference", way)),
            Box(
                "CloudWatch",
                "warn" if firing else "good",
                (
                    str(service.get("log_group") or "no logs"),
                    f"{len(firing)} of {len(read['alarms'])} alarms fire" if read["alarms"] else "no alarms",
                ),
            ),
        ],
        vpc=f"VPC {network.get('vpc_id') or 'absent'} {network.get('vpc_cidr') or ''}".strip(),
        public="Public subnets: " + _subnets(read["subnets"], network.get("public_subnet_ids")),
        private="Private subnets: " + _subnets(read["subnets"], network.get("private_subnet_ids")),
    )


def _task(task: Part) -> Box:
    where = " ".join(one for one in (task["zone"], task["address"]) if one)
    return Box(f"Task {task['id'][:8]}", task["state"], (*task["word"].split(", "), where or "no address yet"))


def _subnets(subnets: list[Part], wanted: list[str] | None) -> str:
    known = {one["subnet_id"]: one for one in subnets}
    return ", ".join(f"{known[one]['zone']} {known[one]['cidr']}" if one in known else one for one in wanted or []) or "none"


class Drawing:
    """Collects frames, boxes and arrows; every text is cut to the room that it has, and kept whole as the tip of its shape."""

    def __init__(self, identifier: str, width: int) -> None:
        self.identifier, self.width = identifier, width
        self.frames: list[Part] = []
        self.boxes: list[Part] = []
        self.arrows: list[Part] = []

    def frame(self, label: str, kind: str, x: float, y: float, width: float, height: float) -> None:
        """Frames of `kind` vpc, subnets, service or services. What they hold begins `label_height` below their top."""
        self.frames.append(
            {"x": x, "y": y, "width": width, "height": height, "kind": kind, "labels": wrapped(label, width), "tip": label}
        )

    def box(self, box: Box, x: float, y: float, width: float, height: float | None = None) -> None:
        self.boxes.append(
            {
                "x": x, "y": y, "width": width, "height": height or box.height, "state": box.state,
                "title": cut(box.title, width, TITLE_LETTER), "tip": "; ".join((box.title, *box.lines)),
                "lines": [cut(line, width, LINE_LETTER) for line in box.lines],
            }
        )  # fmt: skip

    def arrow(self, *points: tuple[float, float]) -> None:
        self.arrows.append({"path": "M" + " L".join(f"{x:g},{y:g}" for x, y in points)})

    def done(self, height: float, title: str, description: str) -> Part:
        return {
            "id": self.identifier, "width": self.width, "height": math.ceil(height), "title": title, "description": description,
            "frames": self.frames, "boxes": self.boxes, "arrows": self.arrows,
        }  # fmt: skip


def wrapped(label: str, width: float) -> list[str]:
    """A label in lines that fit, broken after commas."""
    lines = [""]
    for piece in re.split(r"(?<=,) ", label):
        longer = f"{lines[-1]} {piece}".strip()
        if lines[-1] and cut(longer, width, LINE_LETTER) != longer:
            lines.append(piece)
        else:
            lines[-1] = longer
    return [cut(line, width, LINE_LETTER) for line in lines]


def label_height(label: str, width: float) -> float:
    return 11 + LINE_HEIGHT * len(wrapped(label, width))


def cut(text: str, width: float, letter: float) -> str:
    most = max(int((width - 2 * PADDING) / letter), 4)
    return text if len(text) <= most else text[: most - 1] + "…"


def wide(parts: Part, read: Part, tasks: list[Part]) -> Part:
    """Services of the region stand to the right of the VPC."""
    what = shown(parts, read, tasks)
    drawing = Drawing("wide", 960)
    top = 8 + what.clients.height + 34
    drawing.box(what.clients, 182, 8, 320)
    vpc = _Vpc(drawing, what, x=8, width=668, columns=4, main=280)
    bottom = vpc.draw(top)
    drawing.arrow((vpc.middle, 8 + what.clients.height), (vpc.middle, vpc.entry))
    x, bus, start = 724, 700, vpc.service + 40
    y = vpc.service
    for box in what.services:
        drawing.box(box, x, y, 228)
        drawing.arrow((vpc.right, start), (bus, start), (bus, y + box.height / 2), (x, y + box.height / 2))
        y += box.height + GAP
    return drawing.done(max(bottom, y) + 8, _title(parts), description(what))


def narrow(parts: Part, read: Part, tasks: list[Part]) -> Part:
    """Services of the region stand below the VPC."""
    what = shown(parts, read, tasks)
    drawing = Drawing("narrow", 344)
    top = 4 + what.clients.height + 30
    drawing.box(what.clients, 32, 4, 280)
    vpc = _Vpc(drawing, what, x=4, width=336, columns=2, main=296)
    bottom = vpc.draw(top)
    drawing.arrow((vpc.middle, 4 + what.clients.height), (vpc.middle, vpc.entry))
    first = bottom + 30
    drawing.arrow((vpc.middle, bottom), (vpc.middle, first))
    y = first + 26.0
    for box in what.services:
        drawing.box(box, 16, y, 312)
        y += box.height + GAP
    drawing.frame("Services of the region", "services", 4, first, 336, y - first)
    return drawing.done(y + 4, _title(parts), description(what))


class _Vpc:
    """The VPC with its subnets. Narrow ones, of less than three columns, have what would stand beside something below it."""

    def __init__(self, drawing: Drawing, what: Shown, x: float, width: float, columns: int, main: float) -> None:
        self._drawing, self._what, self._columns, self._main = drawing, what, columns, main
        self._x, self._width = x, width
        self.middle, self.right = x + width / 2, x + width - 20
        # Where the load balancer and the service begin, once they are drawn.
        self.entry = self.service = 0.0

    def draw(self, top: float) -> float:
        what, y = self._what, top + label_height(self._what.vpc, self._width)
        # Frames lie beneath what they hold.
        place = len(self._drawing.frames)
        public = self._subnets(what.public, y, None if what.internal else what.load_balancer, what.gateway)
        private = self._subnets(what.private, public + GAP, what.load_balancer if what.internal else None, None, inner=True)
        bottom = private + 10
        self._drawing.frame(what.vpc, "vpc", self._x, top, self._width, bottom - top)
        self._drawing.frames.insert(place, self._drawing.frames.pop())
        return bottom

    def _subnets(self, label: str, top: float, balancer: Box | None, beside: Box | None, inner: bool = False) -> float:
        """The end of a frame of subnets with a load balancer, something beside it, and if `inner` service and database."""
        place, y = len(self._drawing.frames), top + label_height(label, self._width - 20)
        if balancer is not None:
            self.entry = y
        y = self._row(balancer, beside, y)
        if inner:
            y = self._service(y + (16 if balancer else 0)) + 28
            self._drawing.arrow((self.middle, y - 28), (self.middle, y))
            y = self._row(self._what.database, self._what.endpoints, y)
        self._drawing.frame(label, "subnets", self._x + 10, top, self._width - 20, y - top)
        self._drawing.frames.insert(place, self._drawing.frames.pop())
        return y

    def _row(self, main: Box | None, beside: Box | None, y: float) -> float:
        if main is not None:
            self._drawing.box(main, self.middle - self._main / 2, y, self._main)
        if beside is None:
            return y + (main.height + GAP if main else 0)
        if self._columns > 2:
            self._drawing.box(beside, self.right - 160, y, 160)
            return y + max(beside.height, main.height if main else 0) + GAP
        below = y + (main.height + GAP if main else 0)
        self._drawing.box(beside, self.middle - self._main / 2, below, self._main)
        return below + beside.height + GAP

    def _service(self, top: float) -> float:
        self.service = top
        x, width, tasks = self._x + 20, self._width - 40, self._what.tasks
        each = (width - (self._columns + 1) * PADDING) / self._columns
        y, height = top + label_height(self._what.service, width), max((one.height for one in tasks), default=0)
        for number, task in enumerate(tasks):
            column, row = number % self._columns, number // self._columns
            self._drawing.box(task, x + PADDING + column * (each + PADDING), y + row * (height + PADDING), each, height)
        rows = math.ceil(len(tasks) / self._columns)
        bottom = y + rows * (height + PADDING) + (0 if rows else PADDING)
        self._drawing.frame(self._what.service, "service", x, top, width, bottom - top)
        # From the load balancer, wherever it is.
        balancer = self.entry + self._what.load_balancer.height
        self._drawing.arrow((self.middle, balancer), (self.middle, top))
        return bottom


def _title(parts: Part) -> str:
    return f"Architecture of {parts['service'].get('service_name') or 'the deployment'}"


def description(what: Shown) -> str:
    """The picture in words, for those who do not see it."""
    gateway = f" The VPC reaches the internet by its NAT gateway ({what.gateway.lines[0]})." if what.gateway else ""
    tasks = ", ".join(f"{one.title} ({', '.join(one.lines)})" if one.lines else one.title for one in what.tasks) or "no task"
    outside = "; ".join(f"{one.title} ({', '.join(one.lines)})" for one in what.services)
    return (
        f"Clients reach the {'internal ' if what.internal else ''}load balancer ({', '.join(filter(None, what.load_balancer.lines))}) in {what.vpc}."
        f" It hands requests to the {what.service}: {tasks}. They use {what.database.title} ({', '.join(filter(None, what.database.lines))})"
        f" in the private subnets, and outside the VPC: {outside}.{gateway}"
    )


def mermaid(parts: Part, read: Part, tasks: list[Part]) -> str:
    """The same picture as a flowchart of Mermaid, which Markdown pages draw."""
    what = shown(parts, read, tasks)
    lines = ["flowchart TB", f"  clients[{_label(what.clients)}]", f"  subgraph vpc[{_quoted(what.vpc)}]"]
    balancer = f"      balancer[{_label(what.load_balancer)}]"
    lines += [f"    subgraph public[{_quoted(what.public)}]"]
    lines += [] if what.internal else [balancer]
    lines += [f"      gateway[{_label(what.gateway)}]"] if what.gateway else []
    lines += ["    end", f"    subgraph private[{_quoted(what.private)}]"]
    lines += [balancer] if what.internal else []
    lines += [f"      subgraph service[{_quoted(what.service)}]"]
    lines += [f"        task{number}[{_label(task)}]" for number, task in enumerate(what.tasks)] or ["        none[no task]"]
    lines += ["      end", f"      database[({_label(what.database)})]"]
    lines += [f"      endpoints[{_label(what.endpoints)}]"] if what.endpoints else []
    lines += ["    end", "  end"]
    lines += [f"  outside{number}[{_label(box)}]" for number, box in enumerate(what.services)]
    lines += ["  clients --> balancer", "  balancer --> service", "  service --> database"]
    return "\n".join(lines + [f"  service --> outside{number}" for number in range(len(what.services))])


def _label(box: Box) -> str:
    return _quoted("\n".join((box.title, *filter(None, box.lines))))


def _quoted(text: str) -> str:
    """As a label of Mermaid, in which nothing is markup but the breaks of the lines."""
    safe = re.sub(r"[^\w\s.,:/()*+-]", lambda found: f"#{ord(found[0])};", text)
    return '"' + "<br/>".join(" ".join(line.split()) for line in safe.split("\n")) + '"'
