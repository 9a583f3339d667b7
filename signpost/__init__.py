"""Which partition set boots next: the GPT priority bits and nothing else.

    flags, layout, state           pure: the bits; where the sets are; every change that is allowed
    location, device               which disk and which set; loading and storing the state
    cli, environment, report       the command line
    cli_support                    how all command lines of the project end
    health…                        judging a boot before it counts

Works when all else is broken: never opens the network, parses no metadata. Modules are imported by
name; the package itself imports nothing.
"""
