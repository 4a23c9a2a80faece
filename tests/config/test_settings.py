"""Defaults, checks, the environment and the table of settings."""

import copy
import pickle
import re
from ipaddress import ip_network
from math import inf

import attrs
import pytest

from nexios_trio.config.settings import PREFIX, Settings
from nexios_trio.core import overflow
from nexios_trio.core.overflow import OutboxStatistics, Verdict, drop_oldest
from nexios_trio.exceptions import SettingsError

NAMES = [field.name for field in attrs.fields(Settings)]


def test_the_defaults_are_the_promised_ones():
    settings = Settings()
    promised = {
        "max_message_size": 65_536,
        "max_fragments": 4096,
        "inbox_messages": 64,
        "outbox_messages": 256,
        "outbox_bytes": 1_048_576,
        "write_timeout": 10,
        "accept_timeout": 10,
        "handshake_timeout": 10,
        "auth_timeout": 15,
        "close_timeout": 5,
        "disconnect_grace": 30,
        "cleanup_timeout": 5,
        "ping_interval": 20,
        "ping_timeout": 60,
        "drain_timeout": 10,
        "max_groups_per_channel": 128,
        "max_connections": None,
        "max_connections_per_address": None,
        "allowed_origins": (),
        "require_origin": False,
        "trusted_proxies": (),
        "compression": False,
        "debug": False,
        "takeover": True,
        "gc_tuning": True,
    }
    assert {name: getattr(settings, name) for name in promised} == promised
    assert settings.overflow.name == "disconnect"


def test_settings_are_frozen_hashable_values():
    assert Settings() == Settings()
    assert hash(Settings()) == hash(Settings())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Settings().debug = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"max_fragments": "7"}, TypeError, "max_fragments must be a whole number from 1, not '7'"),
        ({"max_fragments": 0}, ValueError, "max_fragments must be a whole number from 1, not 0"),
        ({"write_timeout": inf}, ValueError, "write_timeout must be seconds above 0, not inf"),
        ({"write_timeout": None}, TypeError, "write_timeout must be seconds above 0, not None"),
        ({"ping_interval": 0}, ValueError, "seconds above 0, inf for never"),
        ({"debug": 1}, TypeError, "debug must be True or False"),
        ({"overflow": "ignore"}, ValueError, "unknown overflow policy 'ignore'"),
        ({"allowed_origins": ["null"]}, ValueError, "allowed_origins takes"),
        ({"max_connections": -1}, ValueError, "or None for no bound"),
        ({"ping_timeout": 10}, SettingsError, r"ping_interval \(20\.0\) must not be above ping_timeout \(10\)"),
        ({"inbox_bytes": 1000}, SettingsError, "max_message_size .* must not be above inbox_bytes"),
    ],
)
def test_wrong_values_say_what_is_accepted(given, kind, text):
    with pytest.raises(kind, match=text):
        Settings(**given)


def test_a_message_size_above_the_hard_maximum_has_to_be_meant():
    size = 2 * 1_048_576
    with pytest.raises(ValueError, match="max_message_size_ceiling"):
        Settings(max_message_size=size)
    meant = Settings(max_message_size=size, max_message_size_ceiling=size, inbox_bytes=size)
    assert meant.max_message_size == size


def test_no_pings_need_no_pong_deadline():
    assert Settings(ping_interval=inf, ping_timeout=5).ping_interval == inf


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_environ({}) == Settings()


def test_the_environment_is_read():
    settings = Settings.from_environ(
        {
            "NEXIOS_MAX_MESSAGE_SIZE": "128KiB",
            "NEXIOS_PING_INTERVAL": "inf",
            "NEXIOS_MAX_CONNECTIONS": "100",
            "NEXIOS_OVERFLOW": "drop_oldest",
            "NEXIOS_ALLOWED_ORIGINS": "https://a.example,https://b.example",
            "NEXIOS_TRUSTED_PROXIES": "10.0.0.0/8",
            "NEXIOS_DEBUG": "yes",
            "NEXIOS_TAKEOVER": "off",
            "PATH": "/bin",
        }
    )
    assert settings == Settings(
        max_message_size=131_072,
        ping_interval=inf,
        max_connections=100,
        overflow=drop_oldest,
        allowed_origins=("https://a.example", "https://b.example"),
        trusted_proxies=(ip_network("10.0.0.0/8"),),
        debug=True,
        takeover=False,
    )


def test_a_policy_with_a_number_from_the_environment():
    policy = Settings.from_environ({"NEXIOS_OVERFLOW": "max_lag:2"}).overflow
    assert policy.max_lag == 2.0


def test_arguments_win_over_the_environment():
    environ = {"NEXIOS_WRITE_TIMEOUT": "not read", "NEXIOS_CLOSE_TIMEOUT": "3"}
    settings = Settings.from_environ(environ, write_timeout=1.0)
    assert (settings.write_timeout, settings.close_timeout) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("NEXIOS_WRITE_TIMEOUT", "10s", "NEXIOS_WRITE_TIMEOUT='10s': must be seconds above 0"),
        ("NEXIOS_WRITE_TIMEOUT", "-1", "NEXIOS_WRITE_TIMEOUT='-1': must be seconds above 0"),
        ("NEXIOS_DEBUG", "maybe", "NEXIOS_DEBUG='maybe': must be True or False .*yes/no"),
        ("NEXIOS_MAX_MESSAGE_SIZE", "1 lot", "NEXIOS_MAX_MESSAGE_SIZE='1 lot': must be .*64KiB"),
        ("NEXIOS_OVERFLOW", "x", "NEXIOS_OVERFLOW='x': unknown overflow policy 'x'; accepted: 'disconnect'"),
        ("NEXIOS_TRUSTED_PROXIES", "x", "NEXIOS_TRUSTED_PROXIES='x': .*10.0.0.0/8"),
    ],
)
def test_errors_name_variable_value_and_what_is_accepted(variable, value, text):
    with pytest.raises(SettingsError, match=text):
        Settings.from_environ({variable: value})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("NEXIOS_MAX_MESAGE_SIZE", "NEXIOS_MAX_MESSAGE_SIZE"),
        ("NEXIOS_OUTBOX_MESSAGE", "NEXIOS_OUTBOX_MESSAGES"),
        ("NEXIOS_DEBG", "NEXIOS_DEBUG"),
        ("NEXIOS_WRITE_TIME_OUT", "NEXIOS_WRITE_TIMEOUT"),
    ],
)
def test_a_misspelt_variable_is_an_error(variable, meant):
    with pytest.raises(SettingsError, match=f"{variable} is not a setting; did you mean {meant}"):
        Settings.from_environ({variable: "1"})


@pytest.mark.parametrize("variable", ["NEXIOS_TEST_REDIS_URL", "NEXIOS_REQUIRE_ENGINES", "NEXIOS_X", "nexios_debug"])
def test_other_variables_are_left_alone(variable):
    assert Settings.from_environ({variable: "1"}) == Settings()


def test_evolve_checks_like_a_new_one():
    changed = Settings(debug=True).evolve(write_timeout=2.0, overflow="drop_latest")
    assert (changed.debug, changed.write_timeout) == (True, 2.0)
    assert changed.overflow.decide is not None
    with pytest.raises(ValueError, match="write_timeout"):
        changed.evolve(write_timeout=0)


@pytest.mark.parametrize("make", [Settings().evolve, lambda **given: Settings.from_environ({}, **given)])
def test_an_unknown_argument_gets_a_suggestion(make):
    with pytest.raises(TypeError, match="no setting 'write_timout'; did you mean write_timeout?"):
        make(write_timout=1)
    with pytest.raises(TypeError, match="no setting 'zzz'$"):
        make(zzz=1)


def test_describe_has_a_full_row_for_each_setting():
    rows = Settings(write_timeout=2.5, trusted_proxies="10.0.0.0/8").describe()
    assert [row.name for row in rows] == NAMES
    assert all(row.meaning and row.variable == PREFIX + row.name.upper() for row in rows)
    by_name = {row.name: row for row in rows}
    assert (by_name["write_timeout"].value, by_name["write_timeout"].default) == ("2.5", "10")
    assert by_name["overflow"].value == "disconnect"
    assert (by_name["trusted_proxies"].value, by_name["trusted_proxies"].default) == ("10.0.0.0/8", "none")
    assert by_name["max_connections"].value == "None"
    assert {row.unit for row in rows} <= {
        "",
        "bytes",
        "bytes per second",
        "seconds",
        "messages",
        "messages per second",
        "frames",
        "connections",
        "groups",
        "levels",
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_can_be_given_back(name):
    settings = Settings(allowed_origins="https://a.example", trusted_proxies="::1", overflow="drop_oldest")
    value = {row.name: row.value for row in settings.describe()}[name]
    read = Settings.from_environ({PREFIX + name.upper(): value})
    assert getattr(read, name) == getattr(settings, name)


def test_a_function_is_a_policy():
    policy = Settings(overflow=lambda statistics, size: Verdict.DROP_LATEST).overflow
    assert policy(OutboxStatistics(messages=1, bytes=1, max_messages=1, max_bytes=9), 1) is Verdict.DROP_LATEST


def test_none_is_how_nothing_is_shown_and_read():
    environ = {"NEXIOS_ALLOWED_ORIGINS": "none", "NEXIOS_TRUSTED_PROXIES": "none", "NEXIOS_MAX_CONNECTIONS": "none"}
    assert Settings.from_environ(environ) == Settings()


def test_the_meaning_of_overflow_names_every_policy_that_has_a_name():
    (row,) = [row for row in Settings().describe() if row.name == "overflow"]
    with pytest.raises(ValueError) as caught:
        overflow.resolve_policy("nonsense")
    for name in overflow._NAMED:
        assert name in row.meaning
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize("overflow", ["disconnect", "drop_oldest", "drop_latest", "max_lag:3"])
def test_settings_can_be_pickled(overflow: str) -> None:
    """As multiprocessing does with whatever it starts a process with."""
    settings = Settings(overflow=overflow, trusted_proxies="unix, 10.0.0.0/8", ping_interval=inf, ping_timeout=inf)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert copy.deepcopy(settings) == settings


def test_raising_the_message_size_names_all_that_has_to_follow() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(max_message_size=4_194_304)
    assert str(caught.value) == (
        "max_message_size (4194304) must not be above max_message_size_ceiling (1048576) and inbox_bytes (1048576); "
        "set them together: max_message_size=4194304, max_message_size_ceiling=4194304, inbox_bytes=4194304, "
        "outbox_bytes=4194304"
    )
    named = re.findall(r"(\w+)=(\d+)", str(caught.value))
    assert Settings(**{name: int(value) for name, value in named}).max_message_size == 4_194_304
