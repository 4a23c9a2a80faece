"""Which offers of compression are taken, and what is answered."""

import pytest
from wsproto.extensions import PerMessageDeflate

from nexios_trio.protocol.deflate import answer_offers

PLAIN = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ([], None),
        (["permessage-deflate"], PLAIN),
        (["permessage-deflate; server_max_window_bits=15"], PLAIN + b"; server_max_window_bits=15"),
        (['permessage-deflate; server_max_window_bits="15"'], PLAIN + b"; server_max_window_bits=15"),
        (["permessage-deflate; server_max_window_bits=9"], None),
        (["permessage-deflate; server_max_window_bits=15; server_max_window_bits=15"], None),
        # The first offer that can be taken counts, wherever it stands.
        (["permessage-deflate; server_max_window_bits=9, permessage-deflate"], PLAIN),
        (
            ["x-other", "permessage-deflate; server_max_window_bits=15, permessage-deflate"],
            PLAIN + b"; server_max_window_bits=15",
        ),
    ],
)
def test_answers(offers, answer):
    assert answer_offers(offers) == answer


def test_what_a_client_of_wsproto_offers_by_default_is_taken():
    extension = PerMessageDeflate()
    offer = f"{extension.name}; {extension.offer()}"
    answer = answer_offers([offer])
    assert answer is not None
    assert b"server_max_window_bits=15" in answer
    extension.finalize(answer.decode())
    assert extension.enabled()
    assert extension.server_max_window_bits == 15
