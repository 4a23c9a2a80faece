"""hypercorn's options are checked before anything is started."""

import ssl

import pytest
from hypercorn.config import Config

from nexios_trio import NexiosApp, serve
from nexios_trio.server.hypercorn.options import OPTIONS, check_options, unknown_options


def test_the_defaults_pass():
    check_options(Config())


def test_every_option_that_is_checked_is_one_of_hypercorns():
    for name in OPTIONS:
        assert hasattr(Config, name), name


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("graceful_timeout", "5", "a number of seconds from 0"),
        ("graceful_timeout", -1, "a number of seconds from 0"),
        ("graceful_timeout", float("inf"), "a number of seconds from 0"),
        ("ssl_handshake_timeout", "soon", "a number of seconds"),
        ("startup_timeout", None, "a number of seconds"),
        ("keep_alive_timeout", True, "a number of seconds"),
        ("read_timeout", 0, "above 0, or nothing"),
        ("backlog", "many", "a whole number from 1"),
        ("backlog", 2.5, "a whole number from 1"),
        ("workers", 0, "a whole number from 1"),
        ("umask", "007", "a whole number from 0"),
        ("user", "www-data", "a whole number from 0"),
        ("accesslog", 5, "a path"),
        ("errorlog", ["-"], "a path"),
        ("certfile", 5, "a path"),
        ("include_server_header", "no", "true or false"),
        ("server_names", [5], "text, or a list"),
        ("bind", 8000, "text, or a list"),
        ("loglevel", "loud", "debug, info, warning"),
        ("verify_mode", "CERT_MAYBE", "CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED"),
        ("verify_mode", 17, "CERT_NONE"),
        ("verify_mode", True, "CERT_NONE"),
        ("verify_flags", "VERIFY_NOTHING", "VERIFY_X509_STRICT"),
    ],
)
async def test_what_is_not_accepted_is_said_before_anything_starts(name, value, accepted):
    config = Config()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=name) as caught:
        await serve(NexiosApp(), config)
    assert accepted in str(caught.value)


@pytest.mark.parametrize("given", ["CERT_REQUIRED", 2, ssl.CERT_REQUIRED])
def test_what_a_toml_file_can_say_of_tls(given):
    config = Config.from_mapping(verify_mode=given, verify_flags="VERIFY_X509_STRICT")
    check_options(config)
    assert config.verify_mode is ssl.CERT_REQUIRED
    assert config.verify_flags is ssl.VERIFY_X509_STRICT


def test_misspelt_options_are_found():
    [problem] = unknown_options(Config.from_mapping(graceful_timout=5, bind=["127.0.0.1:0"]))
    assert problem == "'graceful_timout' is no option of hypercorn's; did you mean graceful_timeout?"
