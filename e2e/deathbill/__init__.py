"""Everything dies with work in flight: what the emulated cloud bills from then on."""
