# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private addresses of network interfaces.

https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
"""

from __future__ import annotations

import ipaddress
from typing import Any

# AWS keeps the first four addresses of a subnet and the last one.
RESERVED = 4


def free_private_address(backend: Any, subnet: Any) -> str:
    """The lowest address of a moto subnet that no network interface has. ValueError if there is none."""
    taken = {interface.private_ip_address for interface in backend.enis.values() if interface.subnet.id == subnet.id}
    network = ipaddress.IPv4Network(subnet.cidr_block)
    for number in range(RESERVED, network.num_addresses - 1):
        address = str(network[number])
        if address not in taken:
            return address
    raise ValueError(f"no address is left in {subnet.id}")
