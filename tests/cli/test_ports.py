"""Which ports `up` gives to what it starts."""

import socket

from cli.supervisor.ports import LOOPBACK, STEADY, choose


def test_ports_differ_and_are_none_that_an_outgoing_connection_gets() -> None:
    chosen = choose([f"service-{number}" for number in range(50)], {})

    assert len(set(chosen.values())) == 50
    assert all(port in STEADY for port in chosen.values())


def test_a_process_keeps_its_port_unless_somebody_else_has_it() -> None:
    before = choose(["router", "gateway"], {})
    assert choose(["router", "gateway"], before) == before

    with socket.create_server((LOOPBACK, before["router"])):
        after = choose(["router", "gateway"], before)

    assert after["gateway"] == before["gateway"]
    assert after["router"] != before["router"]
    assert after["router"] in STEADY
