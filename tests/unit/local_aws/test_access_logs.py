# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of access logs, against AWS's documented ones and whatever clients may send."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws import access_log_delivery, access_logs
from local_aws.access_log_delivery import AccessLogs, Destination, Refused

BALANCER = "app/my-loadbalancer/50dc6c495c0c9188"
GROUP = "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067"
FIELD = re.compile(r'"[^"\\]*(?:\\x[0-9A-F]{2}[^"\\]*)*"|[^ "]+')
REQUEST = {
    "remote_ip": "192.168.131.39",
    "remote_port": "2817",
    "proto": "HTTP/1.1",
    "method": "GET",
    "host": "www.example.com",
    "uri": "/",
}
RECORD = {
    "ts": 1530570180.186641,
    "duration": 11.822641,
    "status": 200,
    "rule": "0",
    "port": "80",
    "agent": "curl/7.46.0",
    "action": "forward",
    "group": GROUP,
    "target": "10.0.0.1:80",
    "wait": 1.2,
}


def entry(request=None, **changes):
    record = {key: value for key, value in {**RECORD, **changes}.items() if value is not None}
    return access_logs.entry(json.dumps({**record, "request": {**REQUEST, **(request or {})}}), BALANCER)


def test_the_example_of_the_documentation():
    assert entry() == (
        f"http 2018-07-02T22:23:00.186641Z {BALANCER} 192.168.131.39:2817 10.0.0.1:80 - 0.001 - 200 200 - - "
        f'"GET http://www.example.com:80/ HTTP/1.1" "curl/7.46.0" - - {GROUP} "-" "-" "-" 0 2018-07-02T22:22:48.364000Z '
        '"forward" "-" "-" "10.0.0.1:80" "200" "-" "-" - "-" "-" "-"'
    )


@pytest.mark.parametrize(
    ("request_", "changes", "told"),
    [
        ({}, {"target": "", "wait": None, "status": 503, "error_status": "503"}, {4: "-", 6: "-1", 8: "503", 9: "-"}),
        ({}, {"wait": None, "status": 502, "error_status": "502"}, {4: "10.0.0.1:80", 6: "-1", 8: "502", 9: "-"}),
        # Left over from asking who it is: the answer is the load balancer's own all the same.
        ({}, {"status": 502, "error_status": "502"}, {6: "-1", 9: "-"}),
        ({}, {"status": 502}, {6: "0.001", 9: "502"}),
        ({}, {"sign_on": "authenticate"}, {22: '"authenticate,forward"'}),
        ({}, {"sign_on": "authenticate", "action": None, "target": None, "group": None}, {22: '"authenticate"', 16: "-"}),
        ({}, {"action": "redirect", "target": None, "redirect": "https://a/"}, {22: '"redirect"', 23: '"https://a/"'}),
        ({}, {"status": 101}, {0: "ws"}),
        ({"tls": {"version": 771, "cipher_suite": 0xC02F}}, {"status": 101}, {0: "wss"}),
        (
            {"tls": {"version": 771, "cipher_suite": 0xC02F, "server_name": "a.b"}},
            {"certificate": "arn:c"},
            {0: "https", 14: "ECDHE-RSA-AES128-GCM-SHA256", 15: "TLSv1.2", 18: '"a.b"', 19: '"arn:c"'},
        ),
        ({"proto": "HTTP/2.0", "tls": {"version": 772}}, {}, {0: "h2", 14: "-", 15: "TLSv1.3", 18: '"-"', 19: '"-"'}),
        ({}, {"certificate": "arn:c"}, {19: '"-"'}),
        ({"remote_ip": "::1"}, {}, {3: "[::1]:2817"}),
        ({"host": "a:8080"}, {}, {12: '"GET http://a:8080/ HTTP/1.1"'}),
        ({"uri": "http://b/c"}, {}, {12: '"GET http://b/c HTTP/1.1"'}),
        ({"host": "[::1]"}, {}, {12: '"GET http://[::1]:80/ HTTP/1.1"'}),
        ({"uri": '/"a" b\\c\r\nX: y'}, {}, {12: r'"GET http://www.example.com:80/\x22a\x22 b\x5Cc\x0D\x0AX: y HTTP/1.1"'}),
        ({}, {"agent": "é\ud800"}, {13: r'"\xC3\xA9?"'}),
        ({}, {"agent": "a" * 9000}, {13: '"' + "a" * 8192 + '"'}),
        ({}, {"agent": None}, {13: '"-"'}),
    ],
)
def test_fields(request_, changes, told):
    fields = FIELD.findall(entry(request_, **changes))
    assert len(fields) == 33
    assert {place: fields[place] for place in told} == told


@given(uri=st.text(), host=st.text(), agent=st.text(), method=st.text(min_size=1))
def test_whatever_a_client_sends_stays_in_its_field(uri, host, agent, method):
    told = entry({"uri": uri, "host": host, "method": method}, agent=agent)
    assert told.isascii() and told.isprintable()
    fields = FIELD.findall(told)
    assert len(fields) == 33 and " ".join(fields) == told


@given(st.text() | st.dictionaries(st.sampled_from(["ts", "request", "status"]), st.integers() | st.text()).map(json.dumps))
def test_what_is_no_record_is_no_entry(line):
    assert access_logs.entry(line, BALANCER) is None


def test_header_fields_never_reach_the_file():
    assert access_logs.proxy_logging("/a/access.log")["encoder"]["fields"] == {
        "request>headers": {"filter": "delete"},
        "resp_headers": {"filter": "delete"},
    }


@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("team", "team/"), ("/team/a/", "team/a/")])
def test_the_key_of_the_documentation(prefix, start):
    key = access_logs.object_key(prefix, "123456789012", "us-east-2", BALANCER, "172.160.1.192", 1392507635, "20sg8hgm")
    assert key == (
        f"{start}AWSLogs/123456789012/elasticloadbalancing/us-east-2/2014/02/15/123456789012_elasticloadbalancing_"
        "us-east-2_app.my-loadbalancer.50dc6c495c0c9188_20140215T2340Z_172.160.1.192_20sg8hgm.log.gz"
    )


@pytest.fixture
def written(monkeypatch):
    """(bucket, key, body) of what is written; buckets called no-... refuse."""
    found = []

    def write(self, key, body):
        if self.bucket.startswith("no-"):
            raise Refused(f"Access Denied for bucket: {self.bucket}")
        found.append((self.bucket, key, access_log_delivery.gzip.decompress(body).decode()))

    monkeypatch.setattr(Destination, "write", write)
    return found


def line(uri):
    return json.dumps({**RECORD, "agent": "\u2028\x85", "request": {**REQUEST, "uri": uri}}, ensure_ascii=False) + "\n"


def destination(bucket="logs"):
    return Destination(bucket, "", "123456789012", "eu-west-2", BALANCER)


def test_each_line_is_delivered_once_and_to_where_it_was_meant(tmp_path, written, caplog):
    path, logs = tmp_path / "access.log", AccessLogs(1)
    path.write_text(line("/before"))
    logs.follow({path: ("127.30.0.1", destination())})
    logs.run_once()
    assert written == []
    with path.open("a") as file:
        file.write(line("/one") + "no record\n" + line("/two") + line("/half")[:40])
    logs.run_once()
    logs.run_once()
    assert len(written) == 1 and written[0][2].count("\n") == 2 and "_127.30.0.1_" in written[0][1]
    with path.open("a") as file:
        file.write(line("/half")[40:])
    logs.follow({path: ("127.30.0.1", destination("no-entry"))})
    assert len(written) == 2 and "/half" in written[1][2]
    with path.open("a") as file:
        file.write(line("/lost"))
    logs.follow({})
    assert len(written) == 2 and "1 access log entries" in caplog.text and "no-entry" in caplog.text
    logs.run_once()
    assert len(written) == 2


def test_a_long_log_is_emptied_when_it_has_been_delivered(tmp_path, written, monkeypatch):
    monkeypatch.setattr(access_log_delivery, "LONG_ENOUGH", 100)
    path, logs = tmp_path / "access.log", AccessLogs(1)
    logs.follow({path: ("127.30.0.1", destination())})
    logs.run_once()
    for uri in ("/one", "/two"):
        with path.open("a") as file:
            file.write(line(uri))
        logs.run_once()
        assert uri in written[-1][2] and path.stat().st_size == 0
    assert len(written) == 2
