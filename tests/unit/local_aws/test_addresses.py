# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading

import pytest

from local_aws.addresses import Addresses, AddressesExhausted


def test_kinds_live_in_networks_of_their_own():
    addresses = Addresses(4777)
    assert addresses.allocate("task", 5000).startswith("127.10.")
    assert addresses.allocate("database", 5432).startswith("127.20.")
    assert addresses.allocate("load_balancer", 8080).startswith("127.30.")
    assert addresses.allocate("hosted_ui", 8443).startswith("127.40.")


def test_instances_side_by_side_do_not_meet():
    assert Addresses(4777).allocate("task", 5000) != Addresses(4778).allocate("task", 5000)


def test_a_taken_port_is_passed_over():
    first = Addresses(4777).allocate("task", 5017)
    with socket.socket() as taken:
        taken.bind((first, 5017))
        assert Addresses(4777).allocate("task", 5017) != first


def test_no_address_is_given_twice_also_by_threads():
    addresses, given = Addresses(4777), []
    threads = [
        threading.Thread(target=lambda: given.extend(addresses.allocate("task", 5000) for _i in range(30)))
        for _t in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 240


def test_running_out_is_an_error():
    addresses = Addresses(4777)
    addresses._next["task"] = 200 * 20
    with pytest.raises(AddressesExhausted, match="no address is left for a task"):
        addresses.allocate("task", 5000)
