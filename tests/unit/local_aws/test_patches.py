# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from local_aws.patches import add, replace


class Owner:
    def method(self, one, two=None):
        return one

    @property
    def value(self):
        return 1


def test_a_method_is_replaced_and_given_back():
    class Changed(Owner):
        pass

    original = replace(Changed, "method", lambda self, one, two=None: two, ("self", "one", "two"))
    assert Changed().method(1, 2) == 2
    assert original(Changed(), 1) == 1


def test_a_method_that_is_gone_is_an_error():
    with pytest.raises(AttributeError, match="Owner.gone is gone from moto"):
        replace(Owner, "gone", lambda self: None)


def test_a_method_that_takes_something_else_is_an_error():
    with pytest.raises(TypeError, match="takes"):
        replace(Owner, "method", lambda self: None, ("self", "one"))
    assert Owner().method(1) == 1


def test_what_moto_lacks_is_added_once():
    class Lacking(Owner):
        pass

    add(Lacking, "other", lambda self: 3)
    assert Lacking().other() == 3
    with pytest.raises(AttributeError, match="moto has Lacking.other by now"):
        add(Lacking, "other", lambda self: 4)
