"""User-space instructions of a server for an echo, a connection, a delivery. See `python -m benchmarks.cost --help`.

callgrind.py    a server under valgrind: how many instructions it has executed, is it at rest, hold it
client.py       a WebSocket client that blocks
tls_link.py     its socket, where the server speaks TLS
workloads.py    what is counted, in slices
table.py        the kept table, and how a new one compares with it
"""
