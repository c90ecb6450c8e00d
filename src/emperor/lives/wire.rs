//! Translates the protocols of stage and vassal into the types of `state` and the texts of the log.

use crate::proto::emperor::{FromVassal, MAX_CONFIG};
use crate::proto::status::StageFault;
use crate::spawn::step::Step;
use crate::state::{Order, VassalMessage};

/// The message of a byte, for the state; `None` for the requests that only the emperor serves.
pub(super) fn message_of(byte: FromVassal) -> Option<VassalMessage> {
    Some(match byte {
        FromVassal::Ready => VassalMessage::Ready,
        FromVassal::Accepting => VassalMessage::Accepting,
        FromVassal::Loyal => VassalMessage::Loyal,
        FromVassal::GoIdle => VassalMessage::GoIdle,
        FromVassal::Heartbeat => VassalMessage::Heartbeat,
        FromVassal::SendConfig | FromVassal::Spawn => return None,
    })
}

/// The byte of an order.
pub(super) fn order_byte(order: Order) -> u8 {
    use crate::proto::emperor::ToVassal;
    match order {
        Order::Stop => ToVassal::Stop,
        Order::Reload => ToVassal::Reload,
        Order::StopGracefully => ToVassal::StopGracefully,
    }
    .byte()
}

/// A fault that the stage has found, as text.
pub(in crate::emperor) fn fault_text(fault: &StageFault) -> String {
    // A message that begins with what has failed needs no name of the step.
    let says_it = fault.message.starts_with(&format!("cannot {} ", fault.step));
    let step = if says_it { None } else { Some(fault.step.as_str()) };
    let origin = Some(fault.origin.as_str()).filter(|origin| !origin.is_empty());
    let parts = [step, origin, Some(&fault.message)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Why a file was not sent over the config pipe.
pub(in crate::emperor) fn send_failure(errno: i32) -> String {
    let error = std::io::Error::from_raw_os_error(errno);
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            format!("the file is too long for the config pipe, which carries {MAX_CONFIG} bytes")
        }
        std::io::ErrorKind::InvalidInput => {
            "it is not a regular file, and so cannot be sent by the config pipe".to_owned()
        }
        _ => format!("the file cannot be sent by the config pipe: {error}"),
    }
}

/// A call that has failed between fork and exec; `programs`: those that were tried, for the log.
pub(super) fn step_failure(step: u8, errno: i32, programs: &str) -> String {
    let error = std::io::Error::from_raw_os_error(errno);
    match Step::from_u8(step) {
        Some(Step::Read) => send_failure(errno),
        Some(Step::Exec) => format!("exec: cannot run {programs}: {error}"),
        Some(step) => format!("{}: {error}", step.name()),
        None => format!("step {step}: {error}"),
    }
}
