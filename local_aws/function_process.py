# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the process of a Lambda function: it calls the handler once. It imports nothing of the local AWS.

  python function_process.py <file with the event> <file for the answer> <file to make when the handler begins> <seconds>

https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any


class Context:
    """What a handler is told of its call."""

    def __init__(self) -> None:
        self._deadline = 0.0
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn = os.environ.pop("LOCAL_AWS_FUNCTION_ARN")
        self.aws_request_id = os.environ.pop("LOCAL_AWS_REQUEST_ID")

    def begin(self, seconds: float) -> None:
        """From now on the time of the call counts."""
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._deadline - time.monotonic())))


def call(event: Any, seconds: float, initialised: Path) -> dict[str, Any]:
    """`{"answer": JSON}` or `{"error": Lambda's description of it}`; the file `initialised` is made when the handler begins."""
    context = Context()
    try:
        module, _dot, name = os.environ["_HANDLER"].rpartition(".")
        sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
        handler = getattr(importlib.import_module(module.replace("/", ".")), name)
        initialised.touch()
        context.begin(seconds)
        return {"answer": json.dumps(handler(event, context))}
    except Exception as error:
        lines = traceback.format_list(traceback.extract_tb(error.__traceback__)[1:])
        print(f"[ERROR] {type(error).__name__}: {error}\nTraceback (most recent call last):\n{''.join(lines)}", flush=True)
        return {
            "error": {
                "errorMessage": str(error),
                "errorType": type(error).__name__,
                "requestId": context.aws_request_id,
                "stackTrace": lines,
            }
        }


if __name__ == "__main__":
    asked, answered, ready, limit = sys.argv[1:]
    # The handler's modules come from its archive, not from here.
    sys.path.pop(0)
    document = json.dumps(call(json.loads(Path(asked).read_text(encoding="utf-8")), float(limit), Path(ready)))
    Path(answered).write_text(document, encoding="utf-8")
