"""A device for the collector of `examples.iot`: sends one reading and shows the answer.

$ python -m examples.iot_device pump 7 1.5
"""

import struct
import sys

from websockets.sync.client import connect

if __name__ == "__main__":
    name, seconds, value = sys.argv[1:]
    with connect(f"ws://127.0.0.1:8000/iot/device/{name}") as device:
        device.send(struct.pack(">If", int(seconds), float(value)))
        print(device.recv())
