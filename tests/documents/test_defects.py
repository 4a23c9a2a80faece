"""What was wrong with the package that the documents come from, and the tests that hold it off here.

Such a test is called `test_regression_...`, wherever it stands: `pytest -k regression` runs them all.
"""

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

APP = "application/test_app.py"
LIFESPAN = "application/test_lifespan.py"
MESSAGES = "core/test_message.py"
PAYLOADS = "core/test_payloads.py"
ROUTES = "routing/test_routes.py"
BASE = "connections/test_websocket.py"
RECEIVING = "connections/test_receiving.py"
BOX = "groups/test_box.py"
CHANNEL = "channels/test_channel.py"
CONNECTION = "connections/test_serve.py"
CONSUMERS = "test_consumer.py"

# defect -> (file, name without `test_regression_`) of its tests
DEFECTS: dict[str, list[tuple[str, str]]] = {
    # application and routing
    "app.websocket did not exist": [(ROUTES, "app_websocket_is_a_decorator")],
    "add_ws_route appended a path as a route": [
        (ROUTES, "add_ws_route_takes_every_documented_form"),
        (ROUTES, "add_ws_route_refuses_anything_else_at_once"),
    ],
    "path parameters were not passed": [
        (ROUTES, "path_parameters_are_passed_by_name"),
        (ROUTES, "a_parameter_that_the_path_does_not_supply_is_refused_at_registration"),
    ],
    "WSRouter() could not be mounted": [(ROUTES, "ws_router_without_a_prefix_can_be_mounted")],
    "a router made of a list crashed": [(ROUTES, "a_list_of_routes_as_first_argument")],
    "mount_router ignored a prefix": [(ROUTES, "a_prefix_given_to_mount_router_is_refused")],
    "mount_ws_router took no prefix": [(ROUTES, "mount_ws_router_replaces_the_prefix_for_this_mount_only")],
    "/ws matched /wsfoo": [(ROUTES, "a_prefix_does_not_take_longer_segments")],
    "a route equal to its prefix was lost": [(ROUTES, "a_route_equal_to_its_prefix")],
    "parameters in prefixes failed": [(ROUTES, "parameters_in_prefixes_work_and_merge")],
    "a router without a match ended the search": [(ROUTES, "the_search_goes_on_after_a_router_without_a_match")],
    "matching changed the caller's scope": [(ROUTES, "the_callers_scope_is_not_changed")],
    "path_params raised KeyError": [
        (ROUTES, "path_params_are_a_dict_in_the_scope_and_always_there"),
        (RECEIVING, "path_params_raised_key_error"),
    ],
    "query_params raised KeyError": [
        (ROUTES, "query_params_are_in_the_scope"),
        (RECEIVING, "query_params_raised_key_error"),
    ],
    "the user was never set": [("middleware/test_authentication.py", "the_user_is_in_the_scope")],
    "no route gave close code 404": [(APP, "no_route_is_http_404_or_a_legal_close_code")],
    "a handler that returned gave 1011, or HTTP 500": [
        (APP, "a_handler_that_returns_closes_with_1000"),
        (APP, "a_handler_that_never_accepts_denies_with_403"),
        (CONNECTION, "a_handler_that_returned_ended_with_1011"),
        (CONNECTION, "a_handler_that_never_accepted_ended_with_500"),
    ],
    "an uncaught disconnect was an error": [
        (APP, "a_disconnect_left_uncaught_is_a_normal_end"),
        (CONNECTION, "an_uncaught_disconnect_was_an_error"),
    ],
    "an error was closed twice": [
        (APP, "an_error_is_logged_once_and_closes_once_with_1011"),
        (CONNECTION, "an_error_was_closed_twice"),
    ],
    "WebSocketException leaked its repr": [
        (APP, "a_websocket_exception_closes_with_its_bare_reason"),
        (CONNECTION, "a_websocket_exception_leaked_its_repr"),
    ],
    "on_startup returned None": [(LIFESPAN, "on_startup_and_on_shutdown_return_the_function")],
    "a failed startup was reported as complete": [(LIFESPAN, "a_failed_startup_is_reported_as_failed")],
    # connections
    "an unoffered subprotocol killed the server": [(BASE, "an_unoffered_subprotocol_killed_a_server")],
    "a binary frame was answered with None": [(RECEIVING, "a_binary_frame_was_answered_you_said_none")],
    "a wrong frame type was KeyError or None": [(RECEIVING, "a_wrong_frame_type_was_a_key_error_or_none")],
    "closing twice raised": [(BASE, "closing_twice_raised")],
    # channels
    "expires=None failed an assert": [(CHANNEL, "expires_none_failed_an_assert")],
    "every send moved created": [(CHANNEL, "every_send_moved_created")],
    "payloads of wrong types went to ASGI": [(PAYLOADS, "wrong_types_went_to_asgi")],
    # boxes, groups, history
    "removing raised UnboundLocalError": [(BOX, "removing_raised_unbound_local_error")],
    "one slow member stalled all": [(BOX, "one_slow_member_stalled_all")],
    "the members changed size during a send": [(BOX, "the_members_changed_size_during_a_send")],
    "a dead peer raised into the sender": [(BOX, "a_dead_peer_raised_into_the_sender")],
    "show_groups was a live dict": [(BOX, "show_groups_was_a_live_dict")],
    "messages of a history shared uuid and timestamp": [
        (BOX, "history_messages_shared_uuid_and_timestamp"),
        (MESSAGES, "history_shared_one_uuid"),
    ],
    "payloads of a history were aliased": [
        (BOX, "history_payloads_were_aliased"),
        (MESSAGES, "history_payload_was_aliased"),
    ],
    "a history was measured by its list": [(BOX, "history_was_measured_by_its_list")],
    "the size of a history was read at import": [(BOX, "history_size_was_read_at_import")],
    "send_to did not match a str": [(BOX, "send_to_never_matched_a_str")],
    "close_all_connections hung on one peer": [(BOX, "close_all_hung_on_one_peer")],
    "_clean_expired raised once something had expired": [(BOX, "clean_expired_raised_as_soon_as_one_had_expired")],
    # consumers
    "on_disconnect was skipped on errors": [(CONSUMERS, "on_disconnect_was_skipped_on_errors")],
    "on_disconnect died when cancelled": [(CONSUMERS, "on_disconnect_died_at_its_first_checkpoint_when_cancelled")],
    "members leaked": [(CONSUMERS, "consumers_leaked_members"), (BOX, "members_leaked")],
    "broadcast logged its payload": [(CONSUMERS, "broadcast_logged_the_payload")],
    "broadcast encoded bytes as text": [(CONSUMERS, "broadcast_encoded_bytes_as_text")],
    "a decode error closed twice": [(CONSUMERS, "a_decode_error_closed_twice")],
    "as_route dropped its arguments": [
        (CONSUMERS, "as_route_dropped_its_arguments"),
        (ROUTES, "as_route_passes_its_arguments_on"),
    ],
    # middleware
    "middleware was accepted and never ran": [("middleware/test_chain.py", "middleware_runs_in_every_place_in_order")],
}


@functools.cache
def regressions(file: Path) -> frozenset[str]:
    """The names of a file's tests against what was once wrong."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(name for name in names if name.startswith("test_regression_"))


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_of_the_original_is_held_off_by_a_test(defect):
    missing = [
        (file, name) for file, name in DEFECTS[defect] if f"test_regression_{name}" not in regressions(TESTS / file)
    ]
    assert DEFECTS[defect]
    assert missing == []
