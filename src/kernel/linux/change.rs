//! Changing sets: many elements in one transaction, and what to do when it is refused.
//!
//! Relies on `net/netfilter/nf_tables_api.c`: a transaction is refused whole, but names every
//! message it could not do. An element that is there already is no error without
//! `NLM_F_EXCL`, unless its value differs; its timeout is not updated (before Linux 6.12).

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::element;
use super::nfnl::Refusal;
use super::nft::{LIST_ELEMENTS, LIST_SET, Nft, TABLE, kind};
use super::wire::Buffer;
use crate::plan::Element;

const MSG_NEWSETELEM: u16 = 12;
const MSG_DELSETELEM: u16 = 14;

/// Bytes of elements in one transaction; below the usual send buffer of 208 KiB.
const TRANSACTION: usize = 128 << 10;
/// More than the message of one element ever takes.
const MESSAGE: usize = 320;

/// One change of a set.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Add(&'a Element),
    Del(&'a Element),
}

/// How a change is sent, after what the kernel said so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    New,
    /// Taken away and added again: it was there, with another value or end.
    Renew,
    Remove,
    Nothing,
}

impl Nft {
    /// Makes changes, in transactions as large as fit. On failure tells the change that was refused;
    /// those of earlier transactions hold.
    pub fn change(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, io::Error)> {
        let size = TRANSACTION / MESSAGE;
        for (n, chunk) in changes.chunks(size).enumerate() {
            self.change_together(chunk).map_err(|(i, e)| (n * size + i, e))?;
        }
        Ok(())
    }

    fn change_together(&mut self, changes: &[Change<'_>]) -> Result<(), (usize, io::Error)> {
        let mut forms = Vec::with_capacity(changes.len());
        for (i, change) in changes.iter().enumerate() {
            forms.push(self.first_form(change).map_err(|e| (i, e))?);
        }
        // Each round answers at least one refusal for good; a refusal names all it can.
        for _ in 0..=2 * changes.len() {
            let messages = Self::lay_out(changes, &forms);
            if messages.is_empty() {
                return Ok(());
            }
            let tables: Vec<(u8, String)> = messages.iter().map(|m| self.table(m.element.table)).collect();
            let refusals = self
                .socket
                .transaction(messages.len(), |buffer, i, seq, flags| {
                    messages[i].encode(buffer, seq, flags, &tables[i]);
                })
                .map_err(|e| (0, e))?;
            if refusals.is_empty() {
                self.committed += 1;
                self.destroyed |= forms.iter().any(|f| matches!(f, Form::Renew | Form::Remove));
                return Ok(());
            }
            for refusal in &refusals {
                self.yield_to(refusal, &messages, &mut forms)?;
            }
        }
        Err((
            0,
            io::Error::other("the kernel refused every form of a transaction"),
        ))
    }

    fn first_form(&mut self, change: &Change<'_>) -> io::Result<Form> {
        Ok(match change {
            // What would have left its set by now is as good as added.
            Change::Add(e) if e.expires.is_some_and(|x| element::time_left(x).is_none()) => Form::Nothing,
            Change::Add(_) => Form::New,
            Change::Del(e) if self.is_hidden(e)? => Form::Nothing,
            Change::Del(_) => Form::Remove,
        })
    }

    /// Whether another range, if any, stands where this one should. The kernel finds ranges
    /// of several fields by their start alone (`pipapo_deactivate`), so that deleting
    /// one that is not there would delete the one that holds its start.
    fn is_hidden(&mut self, e: &Element) -> io::Result<bool> {
        let ranges = e.set.is_interval() && !element::has_boundaries(e.set);
        Ok(ranges && self.one(e)?.is_none())
    }

    /// Finds another form for what was refused, or says that there is none.
    fn yield_to(
        &mut self,
        refusal: &Refusal,
        messages: &[ElementMessage<'_>],
        forms: &mut [Form],
    ) -> Result<(), (usize, io::Error)> {
        let error = io::Error::from_raw_os_error(refusal.errno);
        let Some(message) = refusal.message.and_then(|i| messages.get(i)) else {
            return Err((0, error));
        };
        let overlaps = || (message.index, io::Error::from_raw_os_error(libc::EEXIST));
        let form = &mut forms[message.index];
        *form = match (*form, refusal.errno) {
            (Form::Remove, libc::ENOENT) => Form::Nothing,
            (Form::New, libc::EEXIST | libc::EBUSY) => {
                if self.is_hidden(message.element).map_err(|e| (message.index, e))? {
                    return Err(overlaps());
                }
                Form::Renew
            }
            // It cannot be taken away, so another element overlaps it.
            (Form::Renew, libc::ENOENT) => return Err(overlaps()),
            _ => return Err((message.index, error)),
        };
        Ok(())
    }

    fn lay_out<'a>(changes: &[Change<'a>], forms: &[Form]) -> Vec<ElementMessage<'a>> {
        let mut out = Vec::with_capacity(changes.len());
        for (index, (change, form)) in changes.iter().zip(forms).enumerate() {
            let (Change::Add(element) | Change::Del(element)) = change;
            let mut push = |add, exclusive| {
                out.push(ElementMessage {
                    index,
                    element,
                    add,
                    exclusive,
                });
            };
            match form {
                Form::New => push(true, element.expires.is_some()),
                Form::Remove => push(false, false),
                Form::Renew => {
                    push(false, false);
                    push(true, true);
                }
                Form::Nothing => {}
            }
        }
        out
    }
}

/// One message of a transaction, and which change it belongs to.
pub(super) struct ElementMessage<'a> {
    pub index: usize,
    pub element: &'a Element,
    pub add: bool,
    pub exclusive: bool,
}

impl ElementMessage<'_> {
    pub fn encode(&self, buffer: &mut Buffer, seq: u32, flags: u16, table: &(u8, String)) {
        if self.add {
            let exclusive = if self.exclusive { NLM_F_EXCL } else { 0 };
            let flags = flags | NLM_F_CREATE | exclusive;
            self.encode_as(buffer, kind(MSG_NEWSETELEM), flags, seq, table);
        } else {
            self.encode_as(buffer, kind(MSG_DELSETELEM), flags, seq, table);
        }
    }

    pub fn encode_as(&self, buffer: &mut Buffer, kind: u16, flags: u16, seq: u32, table: &(u8, String)) {
        let open = buffer.message(kind, flags, seq, table.0, 0);
        buffer.put_text(TABLE, &table.1);
        buffer.put_text(LIST_SET, &self.element.set.to_string());
        let list = buffer.nest(LIST_ELEMENTS);
        element::encode(buffer, self.element, self.add);
        buffer.end_nest(&list);
        buffer.end_message(&open);
    }
}
