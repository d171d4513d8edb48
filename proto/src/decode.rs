//! Bytes → request. Reads the fields in order and reports the first fault,
//! then unused fields, then padding. docs/protocol.md §6.8. Pure.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU16;

use crate::limits::{JOIN_KEY_LEN, MAX_ADDRESSES, MAX_COMMAND, MAX_SERVICES, VERSION};
use crate::reader::Reader;
use crate::{
    Action, Addresses, CommandName, Open, Protocol, Request, RequestError, Service, Services,
    usable_address,
};

impl Request {
    /// Reads a request, with any amount of padding.
    ///
    /// # Errors
    /// The first fault, in the order of docs/protocol.md §6.8.
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        let mut reader = Reader::new(bytes);
        let fields = Fields::decode(&mut reader)?;
        let request = fields.into_request()?;
        reader.padding()?;
        Ok(request)
    }
}

/// The fields of any action, each one well formed.
struct Fields {
    action: Action,
    open: Open,
    command: Option<CommandName>,
    join_key: [u8; JOIN_KEY_LEN],
}

impl Fields {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, RequestError> {
        if reader.u8()? != VERSION {
            return Err(RequestError::UnknownVersion);
        }
        let action = Action::from_number(reader.u8()?).ok_or(RequestError::UnknownAction)?;
        let once = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(RequestError::UnknownFlag),
        };
        let open = Open {
            once,
            duration: reader.u32()?,
            source_port: NonZeroU16::new(reader.u16()?),
            addresses: addresses(reader)?,
            services: services(reader)?,
        };
        let command = command(reader)?;
        if action == Action::Run && command.is_none() {
            return Err(RequestError::MissingCommand);
        }
        let joiner = match action {
            Action::Join => *reader.array()?,
            _ => [0; JOIN_KEY_LEN],
        };
        Ok(Self {
            action,
            open,
            command,
            join_key: joiner,
        })
    }

    /// Refuses what the action does not use, and what excludes each other.
    fn into_request(self) -> Result<Request, RequestError> {
        let Self {
            action,
            open,
            command,
            join_key: joiner,
        } = self;
        let only_where = match action {
            Action::Open => open.clone(),
            Action::Close => Open {
                addresses: open.addresses,
                services: open.services.clone(),
                ..Open::default()
            },
            Action::Run | Action::Join => Open::default(),
        };
        if open != only_where || (command.is_some() && action != Action::Run) {
            return Err(RequestError::UnusedField);
        }
        match (action, command) {
            (Action::Open, _) if open.once && open.source_port.is_some() => {
                Err(RequestError::OnceWithSourcePort)
            }
            (Action::Open, _) => Ok(Request::Open(open)),
            (Action::Close, _) => Ok(Request::Close {
                addresses: open.addresses,
                services: open.services,
            }),
            (Action::Run, Some(command)) => Ok(Request::Run { command }),
            (Action::Run, None) => Err(RequestError::MissingCommand),
            (Action::Join, _) => Ok(Request::Join { join_key: joiner }),
        }
    }
}

fn addresses(reader: &mut Reader<'_>) -> Result<Addresses, RequestError> {
    let count = usize::from(reader.u8()?);
    if count > MAX_ADDRESSES {
        return Err(RequestError::TooManyAddresses);
    }
    let (mut v4, mut v6) = (None, None);
    for _ in 0..count {
        let address = match reader.u8()? {
            4 if v4.is_some() => return Err(RequestError::DuplicateFamily),
            4 if v6.is_some() => return Err(RequestError::UnorderedFamily),
            4 => {
                let address = Ipv4Addr::from(*reader.array::<4>()?);
                v4 = Some(address);
                IpAddr::V4(address)
            }
            6 if v6.is_some() => return Err(RequestError::DuplicateFamily),
            6 => {
                let address = Ipv6Addr::from(*reader.array::<16>()?);
                v6 = Some(address);
                IpAddr::V6(address)
            }
            _ => return Err(RequestError::UnknownFamily),
        };
        if !usable_address(address) {
            return Err(RequestError::UnusableAddress);
        }
    }
    Addresses::new(v4, v6).map_err(|_| RequestError::UnusableAddress)
}

fn services(reader: &mut Reader<'_>) -> Result<Services, RequestError> {
    let count = usize::from(reader.u8()?);
    if count > MAX_SERVICES {
        return Err(RequestError::TooManyServices);
    }
    let mut services: Vec<Service> = Vec::with_capacity(count);
    for _ in 0..count {
        let protocol = reader.u8()?;
        let protocol = Protocol::from_number(protocol).ok_or(RequestError::UnknownProtocol)?;
        let port = NonZeroU16::new(reader.u16()?).ok_or(RequestError::ZeroPort)?;
        let service = Service { protocol, port };
        match services.last() {
            Some(last) if *last == service => return Err(RequestError::DuplicateService),
            Some(last) if *last > service => return Err(RequestError::UnorderedService),
            _ => services.push(service),
        }
    }
    Ok(Services::checked(services))
}

fn command(reader: &mut Reader<'_>) -> Result<Option<CommandName>, RequestError> {
    let length = usize::from(reader.u8()?);
    if length > MAX_COMMAND {
        return Err(RequestError::CommandTooLong);
    }
    CommandName::decode(reader.bytes(length)?)
}
