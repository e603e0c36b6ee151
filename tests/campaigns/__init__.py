"""Proofs that take longer than a test may: ``python -m tests.campaigns.NAME``, and a short form of each within pytest.

Those of the protocols, up to ``links``, take ``--seed``, ``--first``, ``--count`` and ``--jobs``, print one line that
sums up, and end with status 1 where they found something, with what is needed to see it again.  Times are for all of it
on two cores.

=================  ==========================================================================  ===========
sessions           every reply, message and ending of 1,000,000 sessions is as in the model     8 minutes
smuggling          no string of CR, LF, NUL and dot, however cut, makes two messages of one     1 minute
smuggling_real     nor does it through a real server on all its ports to a real next hop        1 minute
stuffing           1,000,000 contents go out and come in again unchanged, however cut           2 minutes
fuzz_server        10,000,000 lines of anything: no failure, no bad reply, no growth, no stall  5 minutes
fuzz_client        1,000,000 lines of answers of any kind: each transaction ends as it must     1 minute
syntax             100,000 addresses, logins, encoded words, headers; time grows with size      1 minute
links              1,000,000 forged links: none leads anywhere                                  2 minutes
crash_points       a server killed before each system call of a message's life loses nothing    10 minutes
restarts           stopping and starting under load loses nothing, and nobody minds             1 minute
stalled_disk       a sync that stands still for a minute: nobody is told yes, or told wrong     5 minutes
timing             neither answers nor times of logins tell who is known                        5 minutes
holding            the worst that clients can say holds the reactor for less than 5 ms          1 minute
stalls             what holds it longer in a real server: attacks and large work                5 minutes
large_queue        a restart, commands and metrics beside a queue of 100,000                    3 minutes
tls_scan           testssl.sh and sslyze find nothing on 465 and STARTTLS                       5 minutes
=================  ==========================================================================  ===========

``reference`` is the model of a session, ``vocabulary`` what is said to both, ``reading`` how receivers read, ``wire`` a
connection in memory.  Kills at random are ``python -m tests.integration.killing --rounds 1000`` (half an hour), and
with features, whose workers are killed too, ``python -m tests.integration.killing_featured --seconds 600``.
"""
