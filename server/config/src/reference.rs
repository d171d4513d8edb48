//! Every key of `spad.toml` and `clients.d/*.toml`, described. docs/reference.md is made from it.
//!
//! Pure. Each table of a file is read as one [`Section`], and a key that the section does not
//! describe cannot be read.

/// One key of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key.
    pub name: &'static str,
    /// Type and limits of its value.
    pub value: &'static str,
    /// What applies without the key. A value that could be written there is in backticks.
    pub default: &'static str,
    /// One or two sentences for people.
    pub meaning: &'static str,
}

macro_rules! sections {
    ($($name:ident $(+ $included:ident)? $title:literal $introduction:literal {
        $($key:literal $value:literal $default:literal $meaning:literal;)+
    })+) => {
        /// A table of the configuration files with keys of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Section {
            $(#[doc = $introduction] $name,)+
        }

        impl Section {
            /// Every section, in the order of docs/reference.md.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// How the section is written in a file.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What the section is for.
            #[must_use]
            pub const fn introduction(self) -> &'static str {
                match self { $(Self::$name => $introduction,)+ }
            }

            /// The section whose keys can be written in this one as well.
            const fn included(self) -> Option<Self> {
                match self { $(Self::$name => included!($($included)?),)+ }
            }

            const fn own_keys(self) -> &'static [KeyDescription] {
                match self {
                    $(Self::$name => &[$(KeyDescription {
                        name: $key,
                        value: $value,
                        default: $default,
                        meaning: $meaning,
                    }),+],)+
                }
            }
        }
    };
}

macro_rules! included {
    () => {
        None
    };
    ($section:ident) => {
        Some(Self::$section)
    };
}

impl Section {
    /// The keys of the section.
    pub fn keys(self) -> impl Iterator<Item = &'static KeyDescription> {
        let included = self.included().map_or(&[][..], Self::own_keys);
        self.own_keys().iter().chain(included)
    }

    /// Whether the section has this key.
    pub(super) fn has_key(self, name: &str) -> bool {
        self.keys().any(|key| key.name == name)
    }
}

sections! {
    ServerFile "spad.toml" "The keys and tables of the server's file." {
        "hide" "list of service names" "`[]`"
            "The services that nobody reaches without a grant. A newly hidden service is on trial.";
        "services" "table of services" "none" "See [`[services]`](#services).";
        "listen" "table" "its defaults" "See [`[listen]`](#listen).";
        "grants" "table" "its defaults" "See [`[grants]`](#grants).";
        "packets" "table" "its defaults" "See [`[packets]`](#packets).";
        "guard" "table" "its defaults" "See [`[guard]`](#guard).";
        "firewall" "table" "none" "See [`[firewall]`](#firewall).";
        "policy" "table" "its defaults" "See [`[policy]`](#policy).";
        "groups" "table of groups" "none" "See [`[groups.NAME]`](#groupsname).";
        "commands" "table of commands" "none" "See [`[commands]`](#commands).";
        "hooks" "table" "none" "See [`[hooks]`](#hooks).";
        "knock" "list of up to 32 doors" "none" "See [`[[knock]]`](#knock).";
        "log" "table" "its defaults" "See [`[log]`](#log).";
    }

    Service "[services]"
        "What clients may ask for, by name. A service is a port, as `ssh = \"tcp/22\"`, or a table with these keys. \
         The protocols are tcp, udp and sctp. Each port belongs to one service." {
        "ports" "list of 1 to 16 ports, as `[\"tcp/8443\", \"udp/8443\"]`" "required"
            "The ports that a grant of the service opens.";
        "ttl" "time, `1s` to `1d`, at most `max_ttl`" "that of `[grants]`"
            "How long a grant lasts if the packet asks for no time.";
        "max_ttl" "time, `1s` to `1d`" "that of `[grants]`"
            "The longest grant. It may be longer or shorter than `[grants] max_ttl`.";
        "to" "address and port, as `\"10.0.0.5:22\"` or `\"[2001:db8::5]:22\"`, or a list of one for each family" "none"
            "The inner host to which a gateway forwards. Without a port, each port leads to the same port there; a service of several ports requires that.";
        "masquerade" "boolean" "`false`"
            "`true`: the inner host sees this machine's address instead of the client's. Requires `to`.";
    }

    Listen "[listen]" "Where packets arrive. Changes need a restart." {
        "port" "port, range `\"40000-50000\"`, list of 1 to 16 of both, or `\"any\"`" "`62201`"
            "The SPA port, to which packets are sent. `spad init` writes a random port, and `spad client add` prints the first one for clients.";
        "carriers" "list of 1 to 16 of `\"udp\"`, `\"icmp\"` and `\"tcp:PORT\"`" "`[\"udp\"]`"
            "What carries packets: UDP to the SPA port, echo requests, or TCP data to a port.";
        "interfaces" "list of interface names, 1 to 15 characters each" "all, including later ones"
            "The interfaces at which packets arrive.";
        "threads" "number, 1 to 16" "`1`"
            "How many threads inspect packets. `[[knock]]` requires 1.";
        "address" "host name or address without port, up to 253 characters" "none"
            "How clients reach this machine. `spad client add` prints it.";
    }

    Grants "[grants]" "Limits of grants." {
        "ttl" "time, `1s` to `1d`, at most `max_ttl`" "`\"30s\"`"
            "How long a grant lasts if the packet asks for no time. Established connections stay open.";
        "max_ttl" "time, `1s` to `1d`" "`\"5m\"`"
            "The longest grant of a packet, unless the service has its own `max_ttl`.";
        "max_per_client" "number, 1 to 1024" "`8`"
            "How many windows one client may hold. At the limit, its next grant replaces its oldest.";
        "max_connections" "number, 1 to 1024" "`64`"
            "The same for grants of one connection, for IPv4 and IPv6 each.";
        "rate" "`\"N/s\"`, `\"N/m\"` or `\"N/h\"`, N from 1 to 1000" "`\"30/s\"`, with a `burst` of 100"
            "How many authentic packets one client may send. A door of `[[knock]]` opens no more often.";
        "burst" "number, 1 to 1000" "`100`, or the number in `rate` if that is set"
            "How many of these packets may come at once.";
        "admin_max_ttl" "time, `1s` to `30d`" "`\"24h\"`"
            "The longest grant of `spad grant`.";
    }

    Packets "[packets]" "Which packets are accepted." {
        "max_skew" "time, `1s` to `1h`" "`\"60s\"`"
            "How far a packet's time may be from the server's clock.";
        "require_address" "boolean" "`false`"
            "`true`: packets that do not state the address to be granted are refused.";
        "on_state_error" "`\"memory\"` or `\"refuse\"`" "`\"memory\"`"
            "What happens to packets while neither the journal nor the horizon can be written. `\"refuse\"` accepts none.";
    }

    Guard "[guard]" "How services are hidden." {
        "mode" "`\"guard\"`, `\"set\"` or `\"command\"`" "`\"guard\"`"
            "Who hides: our table `inet spad`, your own ruleset with our sets, or the programs of `[firewall]`.";
        "table" "text, `\"inet NAME\"`" "required with the mode \"set\", refused otherwise"
            "The table of your own ruleset, of the family inet.";
        "always_allow" "list of interfaces and networks" "`[\"lo\"]`"
            "Who needs no packet. No effect in the mode \"set\".";
        "answer" "`\"auto\"`, `\"as_closed\"`, `\"prohibited\"` or `\"drop\"`" "`\"auto\"`"
            "What senders without a grant get: the same as from closed ports of your firewall, as from closed ports of the kernel, an ICMP message \"prohibited\", or nothing. No effect in the mode \"set\".";
        "trial" "time, `0s` to `1d`" "`\"10m\"`"
            "How long a newly hidden service is on trial; `\"0s\"`: no trial. No effect in the mode \"set\".";
    }

    Firewall "[firewall]" "The programs of the mode \"command\", which the section requires." {
        "open" "table with `argv`" "required" "The program that opens one port for one address or network.";
        "close" "table with `argv`" "required" "The program that closes it again.";
        "user" "user name, not root" "`spad-fw`, the firewall writer's user" "The user that runs the programs.";
        "keep_net_admin" "boolean" "`false`"
            "`true`: the programs keep CAP_NET_ADMIN, to change this machine's own firewall.";
        "time_limit" "time, `1s` to `60s`" "`\"10s\"`"
            "How long each run may take. Then it is killed and counts as failed.";
    }

    FirewallProgram "[firewall.open] and [firewall.close]" "One program of the mode \"command\"." {
        "argv" "list of texts, up to 64" "required"
            "The program's absolute path and its arguments. They may contain `{address}`, `{family}`, `{protocol}`, `{port}`, `{source_port}`, and for `open` `{ttl_s}`.";
    }

    Policy "[policy]" "What applies to all clients and groups." {
        "time_zone" "name of a time zone, as `\"Europe/Berlin\"`" "`\"UTC\"`" "The zone of all `hours`.";
    }

    Rules "[groups.NAME]" "What all clients of a group may do. A client's file can have each of these keys too." {
        "allow" "list of service names" "none"
            "The services that the client may open. It is required in a client's file without `groups`. Lists of groups add up.";
        "commands" "list of command names" "none"
            "The commands of `[commands]` that the client may run. Lists of groups add up.";
        "sources" "list of networks, as `[\"192.0.2.0/24\"]`" "any"
            "Networks that must contain every granted address. An address must be in every list that is given.";
        "hours" "list of texts, as `[\"mon-fri 08:00-18:00\", \"sat,sun 22:00-06:00\"]`" "always"
            "When the client may open. The time must be in every list that is given.";
        "expires" "date and time with offset, as `2027-01-31T18:00:00Z`" "never"
            "The client is refused from then on. The earliest applies.";
        "max_ttl" "time, `1s` to `1d`" "the service's"
            "The longest grant. It only shortens what the service allows, and the shortest applies.";
        "max_grants" "number, 1 to 1024" "`max_per_client` of `[grants]`"
            "How many windows the client may hold. The smallest applies.";
        "max_connections" "number, 1 to 1024" "that of `[grants]`"
            "How many grants of one connection the client may hold. The smallest applies.";
        "require_address" "boolean" "that of `[packets]`"
            "Overrides `[packets] require_address` either way. `true` applies before `false`.";
        "note" "text" "none" "A note for people.";
    }

    Command + Program "[commands]"
        "The programs that packets and doors may run, by name. A command is a table with these keys." {
        "parallel" "boolean" "`false`"
            "`true`: one client may run it several times at once.";
    }

    Hooks "[hooks]" "The programs that run for each grant." {
        "open" "table of a program" "none" "Runs once the kernel has a grant, or has renewed it.";
        "close" "table of a program" "none" "Runs once the kernel no longer has the grant.";
    }

    Program "[hooks.open] and [hooks.close]" "One hook." {
        "argv" "list of texts, 1 to 64 of up to 4096 bytes" "required"
            "The program's absolute path and its arguments, as they are. No shell is involved.";
        "user" "user name" "required" "The user that runs the program, with that user's groups.";
        "as_root" "boolean" "`false`" "Must be `true` if `user` is `\"root\"`, and only then.";
        "timeout" "time, `1s` to `1d`" "`\"60s\"`"
            "How long it may run. Then its process group receives SIGTERM, and SIGKILL after 2 s.";
    }

    Door "[[knock]]" "One door of port knocking; see [port-knocking.md](port-knocking.md)." {
        "name" "name" "required" "How `spad grants`, `spad revoke` and the audit call the door.";
        "sequence" "text of 2 to 32 knocks, as `\"8881,7777:udp,9991\"`" "required without `one_time`"
            "The knocks that open the door, TCP unless followed by `:udp`.";
        "one_time" "path, relative to the configuration's directory" "none"
            "A file of up to 1000 sequences, each for one use, instead of `sequence`.";
        "open" "list of service names with up to 16 ports" "required without `run`"
            "The services that the door opens for the address that knocked.";
        "run" "name of a command" "none" "The command of `[commands]` that the door runs, instead of `open` or in addition.";
        "ttl" "time, `1s` to `1d`, at most the services' `max_ttl`" "the services' own" "How long the door's grants last. Requires `open`.";
        "within" "time, `1s` to `10m`" "`\"15s\"`" "The time from the first knock to the last.";
        "tcp_flags" "list of `fin`, `syn`, `rst`, `psh`, `ack`, `urg`, each also with `!`" "`[\"syn\", \"!ack\"]`"
            "The flags that a TCP knock must have, or with `!` must not have. `\"syn\"` is required.";
        "target" "address" "all addresses" "The address of this host at which knocks count.";
        "strict" "boolean" "`true`" "`true`: a knock at any other port ends the attempt. `false`: only knocks at the sequence's ports count.";
    }

    Log "[log]" "Where events are recorded." {
        "audit" "absolute path of a file" "`\"/var/log/spad/audit.jsonl\"`"
            "The audit file. Changes need a restart, and outside `/var/log` the unit must allow the directory.";
    }

    Client + Rules "clients.d/NAME.toml" "One file for each client, named after the client." {
        "key" "key that `spa key show` prints, or a list of 1 to 8 keys or tables" "required without `shared_key`"
            "The client's public key, or several while keys are changed. A table gives a key its end.";
        "shared_key" "boolean" "`false`"
            "`true`: the client's key is in `/var/lib/spad/keys/NAME.shared`, and `key` is not set.";
        "pre_shared_key" "boolean" "`false`"
            "`true`: a second secret, in `/var/lib/spad/keys/NAME.psk`, is mixed in. Not with `shared_key`.";
        "groups" "list of group names" "none" "The groups of `spad.toml` to which the client belongs.";
        "ipv4_prefix" "number, 16 to 24" "the address alone"
            "Grants are for the IPv4 network of this length around the address. All of it must be in `sources`.";
        "ipv6_prefix" "number, 32 to 64" "the address alone" "The same for IPv6.";
        "enabled" "boolean" "`true`" "`false`: the client is refused.";
    }

    ClientKey "key of clients.d/NAME.toml" "One key of a client with its end, as `{ key = \"spa-pub-…\", until = … }`." {
        "key" "key that `spa key show` prints" "required" "The public key.";
        "until" "date and time with offset, as `2027-01-31T18:00:00Z`" "no end" "Packets of the key are refused from then on.";
    }
}
