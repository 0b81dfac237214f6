"""The list has 83 rows. Each is a case of these tables, or proved by a test named here, or said not to be promised, and why."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROWS = range(1, 84)

PROTOCOL = "tests/shared/test_protocol.py::"
WEBHOOKS = "tests/ingest/test_webhooks.py::"
LIMITS = "tests/ingest/test_limits.py::"
AUTH = "tests/shared/test_auth.py::"
LINKS = "tests/shared/test_links.py::"
CLOSER = "tests/closer/"
CONNECTORS = "tests/contracts/test_connectors.py::"
VISIT = "tests/console/test_visit.py::"
OUTBOUND = "tests/closer/test_outbound.py::"
ADDRESSES = "tests/closer/test_addresses.py::"
EMAIL = "tests/closer/test_email.py::"

ELSEWHERE: dict[int, tuple[str, ...]] = {
    1: (PROTOCOL + "test_row_1_too_long_by_its_own_word",),
    2: (PROTOCOL + "test_row_2_endless_chunks", PROTOCOL + "test_row_2_endless_framing_without_a_body"),
    3: (PROTOCOL + "test_row_3_a_length_that_is_too_large_and_a_client_that_leaves",),
    6: ("tests/shared/test_hosts.py::test_row_6_a_strangers_name_is_refused_and_ours_are_answered",),
    8: (
        PROTOCOL + "test_rows_8_to_10_the_deadlines_as_shipped",
        PROTOCOL + "test_row_8_a_header_that_trickles",
        PROTOCOL + "test_row_8_a_header_that_stops",
    ),
    9: (PROTOCOL + "test_rows_8_to_10_the_deadlines_as_shipped", PROTOCOL + "test_row_9_a_body_that_trickles"),
    10: (
        PROTOCOL + "test_rows_8_to_10_the_deadlines_as_shipped",
        PROTOCOL + "test_row_10_no_byte_at_all",
        PROTOCOL + "test_row_10_kept_alive_and_idle",
    ),
    11: (PROTOCOL + "test_row_11_slow_sockets_harm_nobody_else",),
    12: (PROTOCOL + "test_row_12_expect_100_then_silence",),
    16: ("tests/shared/test_body.py::test_row_16_a_gzip_bomb_costs_no_more_than_the_limit",),
    30: ("tests/shared/test_strict_json.py::test_row_30_no_body_costs_more_than_50_ms_of_cpu",),
    35: (WEBHOOKS + "test_who_is_not_believed", CONNECTORS + "test_35_36_45_a_changed_byte_or_header_breaks_it"),
    36: (WEBHOOKS + "test_who_is_not_believed", CONNECTORS + "test_35_36_45_a_changed_byte_or_header_breaks_it"),
    37: (
        WEBHOOKS + "test_who_is_not_believed",
        WEBHOOKS + "test_37_within_the_tolerance",
        CONNECTORS + "test_37_a_signed_time_is_near",
    ),
    39: (
        "tests/ingest/test_api.py::test_39_the_same_id_with_another_body_in_flight_is_a_conflict",
        WEBHOOKS + "test_39_the_same_id_with_another_body_is_never_a_conflict_on_a_webhook",
    ),
    41: (WEBHOOKS + "test_41_the_dot_cannot_be_moved", WEBHOOKS + "test_who_is_not_believed"),
    42: (
        WEBHOOKS + "test_42_both_secrets_are_good_while_one_is_replaced",
        "tests/ingest/test_quarantine.py::test_42_a_secret_that_was_replaced_is_good_until_its_time",
    ),
    43: (WEBHOOKS + "test_43_one_sources_signature_opens_no_other",),
    44: (WEBHOOKS + "test_who_is_not_believed", "tests/ingest/test_sources.py::test_refused"),
    45: (CONNECTORS + "test_35_36_45_a_changed_byte_or_header_breaks_it",),
    46: (CLOSER + "test_api.py::test_46_47_other_workspaces_unknown_ids_and_missing_scopes",),
    47: (AUTH + "test_row_47_what_is_no_key_is_401", AUTH + "test_a_revoked_key_stops_at_once_in_every_process"),
    49: (LIMITS + "test_49_a_key_that_comes_too_often",),
    50: (
        LIMITS + "test_50_the_buckets_are_bounded",
        AUTH + "test_row_50_made_up_keys_fill_no_memory",
        AUTH + "test_row_50_what_does_not_look_like_a_key_asks_nobody",
    ),
    51: (LIMITS + "test_51_whoever_says_to_come_from_elsewhere_has_the_same_limit",),
    52: (CLOSER + "test_api.py::test_52_a_limit_or_cursor_that_is_none_of_ours_is_400",),
    53: (
        CLOSER + "test_page.py::test_53_every_changed_token_is_404_and_does_nothing",
        CLOSER + "test_page.py::test_the_page_shows_what_was_said_and_done_and_changes_nothing",
        LINKS + "test_the_signature_has_at_least_128_bits",
        LINKS + "test_row_53_made_for_something_else",
    ),
    54: (
        VISIT + "test_whoever_is_not_signed_in_is_sent_to_do_so_and_then_gets_where_they_wished",
        VISIT + "test_nobody_is_sent_to_another_site",
        VISIT + "test_a_form_from_elsewhere_changes_nothing",
        VISIT + "test_the_token_of_one_session_is_worth_nothing_in_another",
        VISIT + "test_the_cookie_is_for_us_alone",
        VISIT + "test_whoever_is_taken_out_of_the_configuration_is_out_at_the_next_click",
    ),
    55: (
        "tests/console/test_dead_letters.py::test_a_letter_is_shown_escaped_and_downloaded_as_it_came",
        "tests/console/test_measures.py::test_what_strangers_name_is_escaped_and_is_no_formula",
        "tests/files/test_written.py::test_no_cell_is_a_formula_and_nothing_is_lost",
    ),
    56: (ADDRESSES + "test_an_address_that_is_not_plainly_public_is_refused_however_it_is_met",),
    57: (ADDRESSES + "test_what_is_written_is_refused_with_what_to_do",),
    58: (OUTBOUND + "test_a_name_whose_address_changes_between_the_look_and_the_connection_gains_nothing",),
    59: (ADDRESSES + "test_one_bad_address_among_good_ones_spoils_them_all",),
    60: (OUTBOUND + "test_a_redirect_is_an_answer_and_is_not_followed",),
    61: (ADDRESSES + "test_what_is_written_is_refused_with_what_to_do",),
    62: (CLOSER + "test_subscribers.py::test_our_own_address_is_refused_for_it_would_go_round_in_a_circle",),
    63: (
        OUTBOUND + "test_an_answer_without_end_is_cut",
        OUTBOUND + "test_what_is_packed_is_not_unpacked",
        OUTBOUND + "test_who_does_not_answer_properly_has_not_answered",
    ),
    67: (EMAIL + "test_67_a_character_that_would_break_a_header_is_refused_before_there_is_a_mail",),
    68: (EMAIL + "test_68_what_is_not_one_plain_address_is_refused",),
    69: (EMAIL + "test_69_no_text_ends_the_mail_early_and_all_of_it_arrives",),
    71: (CLOSER + "test_slack.py::test_what_a_customer_wrote_calls_nobody_and_links_nowhere",),
    72: (CLOSER + "test_render.py::test_hostile_words_are_only_words",),
    74: ("tests/ingest/test_api.py::test_outcomes_are_counted_without_a_word_of_the_input",),
    75: (AUTH + "test_row_75_only_the_digest_is_stored", VISIT + "test_neither_links_nor_sessions_can_be_read_from_the_database"),
    76: (
        CLOSER + "test_erasures.py::test_no_table_holds_anything_of_her",
        CLOSER + "test_erasures.py::test_what_was_counted_is_counted_still",
        CLOSER + "test_erasures.py::test_what_is_sent_again_or_comes_late_does_not_bring_her_back",
    ),
    79: (VISIT + "test_the_console_reads_views_and_can_do_nothing_else",),
}  # fmt: skip
"""Rows with a proof that has its own place: of the protocol alone, of a clock that stands still, of what a service sends."""

NOT_PROMISED: dict[int, str] = {
    54: "Of it, OIDC (state, nonce, PKCE): nobody signs in by it. A one-time link begins a session; its tests stand above.",
    64: "A subscription has no headers of one's own, so there are none to refuse.",
    65: "There is no proxy on the way out: the environment's is not asked (test_no_proxy_of_the_environment_is_asked).",
    70: "No template is a customer's: theirs are values in ours, and ours are files of the project.",
    78: "Who may do what on a broker is its operator's. We speak SASL and TLS (tests/contracts/test_log_kafka.py).",
    79: "Of it, roles of the services that write: each migrates its own schema. The console's has nothing but its views.",
    82: "Of it, pip-audit and an SBOM: they ask a service on the internet, which a suite cannot. What is installed is pinned by hash.",
}
"""What of the list this is not, with the reason."""


def test_every_row_is_a_case_or_proved_elsewhere_or_said_not_to_be_promised() -> None:
    missing = set(ROWS) - set(_cases()) - set(ELSEWHERE) - set(NOT_PROMISED)
    assert missing == set()
    assert all(reason.strip().endswith((".", ")")) for reason in NOT_PROMISED.values())


TARGETS = sorted({target for targets in ELSEWHERE.values() for target in targets})


@pytest.mark.parametrize("target", TARGETS)
def test_what_proves_a_row_elsewhere_is_there(target: str) -> None:
    path, _, name = target.partition("::")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert callable(getattr(module, name, None)), f"{target} is another's name by now"


def _cases() -> Iterator[int]:
    """The numbers of `test_40_a_thousand_copies_…`, and of cases as `1-content-length-over-the-limit`."""
    for path in Path(__file__).parent.glob("test_*.py"):
        module = importlib.import_module(f"tests.promises.{path.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_") and callable(test):
                ids = [one for mark in getattr(test, "pytestmark", ()) for one in mark.kwargs.get("ids") or ()]
                named = (re.match(r"(\d+)-", one) for one in ids)
                yield from (int(match[1]) for match in (re.match(r"test_(\d+)_", name), *named) if match)
