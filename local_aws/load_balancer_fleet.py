# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes real what moto's elbv2 backends declare: open ports, proxies, receivers; and checks the targets' health."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moto.acm.models import acm_backends
from moto.wafv2.models import wafv2_backends

from . import access_logs, elb_targets, web_acls
from .access_log_delivery import AccessLogs, Destination
from .certificate_directory import CertificateDirectory
from .load_balancer import ListenerProxy, ProxyError, bind
from .load_balancer_config import LOOK_UP_SECONDS, Listener, TargetGroup, proxy_config
from .load_balancer_rules import Rule, rule
from .sign_on import Provider
from .sign_on_service import SignOnService
from .target_directory import TargetDirectory, name_of
from .target_health import Health, Outcome, observe
from .target_prober import probe

Place = tuple[str, int]
log = logging.getLogger(__name__)


class Fleet:
    """Every load balancer of the instance. `lock` guards moto's elbv2 state and the proxies."""

    def __init__(self, runtime: Any, backends: Any) -> None:
        self._runtime = runtime
        self._backends = backends
        self._folder = runtime.settings.folder / "load_balancers"
        self._directory = TargetDirectory()
        self._certificates = CertificateDirectory()
        self._sign_on = SignOnService()
        self._access_logs = AccessLogs(runtime.settings.access_log_seconds)
        runtime.reconcilers.append(self._access_logs)
        # AWS serves it at https://public-keys.auth.elb.<region>.amazonaws.com/<key ID>.
        runtime.pages[f"elb-public-keys/{self._sign_on.signer.key_id}"] = self._sign_on.signer.public_key
        self._bound: dict[Place, socket.socket] = {}
        self._proxies: dict[Place, ListenerProxy] = {}
        self.lock = threading.RLock()
        runtime.closers.append(self.close)
        runtime.reporters["load_balancers"] = self.report

    def backends(self) -> Iterator[Any]:
        for account in list(self._backends.values()):
            yield from list(account.values())

    def reserve(self, address: str, port: int) -> None:
        """Take a port before the listener is declared; OSError if it cannot be had."""
        if (address, port) not in self._bound and (address, port) not in self._proxies:
            self._bound[address, port] = bind(address, port)

    def reconcile(self) -> None:
        """Bring ports, proxies and receivers in line with the declarations; ProxyError if a proxy refuses."""
        with self.lock:
            declared = {}
            for backend in self.backends():
                for balancer in backend.load_balancers.values():
                    for listener in balancer.listeners.values():
                        declared[balancer.dns_name, int(listener.port)] = (backend, balancer, listener)
            for place in [place for place in [*self._proxies, *self._bound] if place not in declared]:
                self._close(place)
            changed = self.publish()
            self._publish_certificates()
            self._publish_sign_on()
            self._access_logs.follow(
                {
                    self._access_log(place): (place[0], to)
                    for place, (backend, balancer, _listener) in declared.items()
                    if (to := destination(backend, balancer))
                }
            )
            broken = []
            for place, (backend, balancer, listener) in declared.items():
                balancer.activate()
                if balancer.state == "active":
                    try:
                        self._serve(place, backend, balancer, listener)
                    except (ProxyError, OSError) as error:
                        broken.append(error)
        if broken:
            raise broken[0]
        if changed:
            # From here on no proxy goes by what it looked up before.
            time.sleep(LOOK_UP_SECONDS)

    def report(self) -> list[dict[str, str]]:
        """For people: each listener and how many of its targets are in which state."""
        told = []
        with self.lock:
            for backend in self.backends():
                for balancer in backend.load_balancers.values():
                    balancer.activate()
                    groups = {arn for arn, user in elb_targets.users_of(backend) if user is balancer}
                    states = Counter(
                        elb_targets.health_of(target, True).state
                        for arn in groups
                        for target in backend.target_groups[arn].targets.values()
                    )
                    ports = " ".join(
                        f"{one.protocol.lower()}://{balancer.dns_name}:{one.port}" for one in balancer.listeners.values()
                    )
                    counted = " ".join(f"{count} {state}" for state, count in sorted(states.items()))
                    told.append(
                        {
                            "name": balancer.name,
                            "state": balancer.state,
                            "listeners": ports or "no listener",
                            "targets": counted or "no targets",
                        }
                    )
        return told

    def close(self) -> None:
        with self.lock:
            for place in [*self._proxies, *self._bound]:
                self._close(place)
            self._directory.close()
            self._certificates.close()
            self._sign_on.close()

    def _close(self, place: Place) -> None:
        if place in self._proxies:
            self._proxies.pop(place).close()
        else:
            self._bound.pop(place).close()

    def _serve(self, place: Place, backend: Any, balancer: Any, declared: Any) -> None:
        if place not in self._proxies:
            self.reserve(*place)
            listening = self._bound.pop(place)
            self._proxies[place] = ListenerProxy(self._runtime.processes, self._proxy_folder(place), listening)
        proxy = self._proxies[place]
        secure = declared.protocol == "HTTPS"
        listener = Listener(
            port=place[1],
            descriptor=proxy.descriptor,
            tls=(declared.ssl_policy, self._certificates.url(_certificate_name(declared))) if secure else None,
            rules=tuple(self._rule(one) for one in elb_targets.rules_of(declared)),
            idle_timeout=int(balancer.attrs["idle_timeout.timeout_seconds"]),
            preserve_host=balancer.attrs["routing.http.preserve_host_header.enabled"] == "true",
            drop_invalid_headers=balancer.attrs["routing.http.drop_invalid_header_fields.enabled"] == "true",
            blocking=_blocking(backend, balancer),
            access_log=str(self._access_log(place)) if destination(backend, balancer) else "",
            certificate=declared.certificate or "",
        )
        groups = {arn: _group(backend.target_groups[arn]) for one in listener.rules for arn in one.weights}
        proxy.configure(proxy_config(proxy.base_config, listener, groups, self._directory.address))

    def _proxy_folder(self, place: Place) -> Path:
        return self._folder / f"{place[0]}-{place[1]}"

    def _access_log(self, place: Place) -> Path:
        return self._proxy_folder(place) / access_logs.LOG_FILE

    def publish(self) -> bool:
        """Tell the proxies who receives; True if anybody else does now. In force after LOOK_UP_SECONDS."""
        names: dict[str, list[str]] = {}
        for backend in self.backends():
            for group in backend.target_groups.values():
                for address, port in elb_targets.receiving(group):
                    names.setdefault(name_of(group.arn, port), []).append(address)
        return self._directory.publish({name: tuple(addresses) for name, addresses in names.items()})

    def _rule(self, declared: Any) -> Rule:
        made = rule([action.data for action in declared.actions], declared.conditions)
        made = dataclasses.replace(made, priority=_priority(declared))
        if elb_targets.sign_on_of(declared) is None:
            return made
        return dataclasses.replace(made, sign_on=self._sign_on.place(_rule_name(declared)))

    def _publish_sign_on(self) -> None:
        """Tell the sign-on service which provider each rule has."""
        rules = {}
        for backend in self.backends():
            for balancer in backend.load_balancers.values():
                for listener in balancer.listeners.values():
                    for one in elb_targets.rules_of(listener):
                        config = elb_targets.sign_on_of(one)
                        if config is not None:
                            rules[_rule_name(one)] = (self._provider(config), balancer.arn)
        self._sign_on.publish(rules)

    def _provider(self, config: dict[str, Any]) -> Provider:
        if "UserPoolArn" in config:
            return self._runtime.hosted_uis.provider(config)
        return Provider.from_api(config)

    def _publish_certificates(self) -> None:
        """Let the proxies show the certificates that the listeners have now, also those imported again."""
        bundles = {}
        for backend in self.backends():
            held = acm_backends[backend.account_id][backend.region_name]._certificates
            for balancer in backend.load_balancers.values():
                for listener in balancer.listeners.values():
                    found = held.get(listener.certificate)
                    if found is not None:
                        bundles[_certificate_name(listener)] = b"\n".join([found.cert, found.chain, found.key])
        self._certificates.publish(bundles)


def _blocking(backend: Any, balancer: Any) -> tuple[str, ...]:
    web_acl = wafv2_backends[backend.account_id][backend.region_name].get_web_acl_for_resource(balancer.arn)
    return web_acls.blocked([rule.to_dict() for rule in web_acl.rules]) if web_acl else ()


def destination(backend: Any, balancer: Any) -> Destination | None:
    """Where a load balancer's access logs go; None where they are off."""
    if balancer.attrs["access_logs.s3.enabled"] != "true":
        return None
    bucket, prefix = balancer.attrs["access_logs.s3.bucket"], balancer.attrs["access_logs.s3.prefix"]
    name = balancer.arn.split(":loadbalancer/", 1)[1]
    return Destination(bucket, prefix, backend.account_id, backend.region_name, name)


def _priority(rule: Any) -> str:
    return "0" if rule.priority == "default" else str(rule.priority)


def _rule_name(rule: Any) -> str:
    return rule.arn.rsplit("/", 1)[1]


def _certificate_name(listener: Any) -> str:
    return listener.arn.rsplit("/", 1)[1]


def _group(group: Any) -> TargetGroup:
    # Ports of draining targets stay until they are gone: each change of ports is a new configuration.
    ports = {port for _address, port in group.targets} | {int(group.port)}
    return TargetGroup(group.arn, tuple(sorted(ports)), group.attributes["load_balancing.algorithm.type"])


class TargetChecks:
    """Checks each target on its own schedule, in one thread; lets drained targets go."""

    interval = 0.2

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._trouble = ""

    def run_once(self) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._step())
        try:
            self._fleet.reconcile()
            trouble = ""
        except (ProxyError, OSError) as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble

    async def _step(self) -> None:
        for group, target in self._due(time.monotonic()):
            check = elb_targets.health_check(group)
            target.next_check = time.monotonic() + check.interval
            self._running.add(asyncio.create_task(self._check(group, target, check)))
        if self._running:
            _done, self._running = await asyncio.wait(self._running, timeout=self.interval)

    def _due(self, now: float) -> list[tuple[Any, elb_targets.Target]]:
        due = []
        with self._fleet.lock:
            for backend in self._fleet.backends():
                served = {arn for arn, balancer in elb_targets.users_of(backend) if balancer.state == "active"}
                for group in backend.target_groups.values():
                    for key, target in list(group.targets.items()):
                        if target.draining_until is not None:
                            if now >= target.draining_until:
                                del group.targets[key]
                        elif group.arn not in served:
                            target.health, target.next_check = Health(), 0.0
                        elif now >= target.next_check:
                            due.append((group, target))
        return due

    async def _check(self, group: Any, target: elb_targets.Target, check: Any) -> None:
        outcome: Outcome = await probe(target.id, target.port, check)
        with self._fleet.lock:
            if group.targets.get((target.id, target.port)) is target and target.draining_until is None:
                target.health = observe(target.health, outcome, check)
                self._fleet.publish()
