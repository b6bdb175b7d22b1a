//! overspill-emulator
