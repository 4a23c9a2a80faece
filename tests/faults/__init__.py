"""`make faults`: an application on two nodes and a real server, whose links and lives fail on schedule.

app         what the nodes serve
proxy       what stands between each node and the server
stage       servers, proxies, nodes and clients: every one but the proxies a process of its own
rows        what happens there: one function for each row of the table
clients     foreign ones: members that come back with their position, publishers that try again with their key
count       what the members were given, against what the publishers were told
"""
