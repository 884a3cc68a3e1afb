"""Starts the emulator with two races mended that the service does not have (docs/decisions/0015)."""

import functools
import threading

from localstack.runtime import main
from localstack.services.stepfunctions import provider
from localstack.services.stepfunctions.asl.eval.callback import callback

# A worker may answer before the interpreter begins to wait for heartbeats; then it waited for one in vain, and gave the
# task out again although it had its result.
set_up = callback.CallbackEndpoint.setup_heartbeat_endpoint


@functools.wraps(set_up)
def set_up_heartbeat_endpoint(self, *args, **kwargs):
    endpoint = set_up(self, *args, **kwargs)
    if self.get_outcome() is not None:
        endpoint.notify()
    return endpoint


callback.CallbackEndpoint.setup_heartbeat_endpoint = set_up_heartbeat_endpoint

# Two starts of one name at the same time both looked, and then both began.
start = provider.StepFunctionsProvider.start_execution
lock = threading.Lock()


@functools.wraps(start)
def start_execution(self, *args, **kwargs):
    with lock:
        return start(self, *args, **kwargs)


provider.StepFunctionsProvider.start_execution = start_execution

main.main()
