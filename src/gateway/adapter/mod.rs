//! The four pairings of a client's and a server's protocol era, behind one interface.
