"""What we tell hypercorn when its own command serves."""

import pickle
from math import inf

from hypercorn.config import Config

from nexios_trio import Settings
from nexios_trio.server.hypercorn.config import hypercorn_options


def test_hypercorn_reads_the_module():
    config = Config.from_object("nexios_trio.serving.hypercorn_config")
    assert config.worker_class == "trio"
    assert config.alpn_protocols == ["http/1.1"]
    assert (config.read_timeout, config.websocket_ping_interval) == (60, 20.0)
    assert config.websocket_max_message_size == 65_537
    assert config.h11_max_incomplete_size == 16_384
    assert pickle.loads(pickle.dumps(config)).logger_class is config.logger_class  # for its worker processes


def test_every_option_is_one_of_hypercorns():
    for name in hypercorn_options(Settings()):
        assert hasattr(Config(), name), name


def test_settings_have_a_say():
    options = hypercorn_options(Settings(ping_interval=5, ping_timeout=inf, max_message_size=1000))
    assert (options["websocket_ping_interval"], options["read_timeout"]) == (5, None)
    assert options["websocket_max_message_size"] == 1001
    assert hypercorn_options(Settings(ping_interval=inf))["websocket_ping_interval"] is None
