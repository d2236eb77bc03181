// Every opcode of protocols 0 to 5 by name (CPython, Lib/pickletools.py), and the handlers of those that are read.
#include "rrhf/format/pickle_machine.h"

namespace rrhf::format {

PickleMachine::OpcodeTable PickleMachine::make_opcodes() {
  using M = PickleMachine;
  OpcodeTable table{};
  const auto known = [&](unsigned char code, std::string_view name, void (M::*run)()) { table[code] = {name, run}; };
  const auto refused = [&](unsigned char code, std::string_view name) { table[code] = {name, nullptr}; };

  known(0x80, "PROTO", &M::proto), known(0x95, "FRAME", &M::frame), known('.', "STOP", &M::stop);
  known('(', "MARK", &M::mark), known('N', "NONE", &M::none);
  known(0x88, "NEWTRUE", &M::new_true), known(0x89, "NEWFALSE", &M::new_false);
  known('J', "BININT", &M::bin_int), known('K', "BININT1", &M::bin_int1), known('M', "BININT2", &M::bin_int2);
  known(0x8a, "LONG1", &M::long1), known('G', "BINFLOAT", &M::bin_float);
  known('X', "BINUNICODE", &M::bin_unicode), known(0x8c, "SHORT_BINUNICODE", &M::short_bin_unicode);
  known(')', "EMPTY_TUPLE", &M::empty_tuple), known(0x85, "TUPLE1", &M::tuple1), known(0x86, "TUPLE2", &M::tuple2);
  known(0x87, "TUPLE3", &M::tuple3), known('t', "TUPLE", &M::tuple);
  known(']', "EMPTY_LIST", &M::empty_list), known('a', "APPEND", &M::append), known('e', "APPENDS", &M::appends);
  known('}', "EMPTY_DICT", &M::empty_dict), known('s', "SETITEM", &M::set_item), known('u', "SETITEMS", &M::set_items);
  known('c', "GLOBAL", &M::global), known(0x93, "STACK_GLOBAL", &M::stack_global);
  known('R', "REDUCE", &M::reduce), known('b', "BUILD", &M::build), known('Q', "BINPERSID", &M::bin_pers_id);
  known('h', "BINGET", &M::bin_get), known('j', "LONG_BINGET", &M::long_bin_get);
  known('q', "BINPUT", &M::bin_put), known('r', "LONG_BINPUT", &M::long_bin_put), known(0x94, "MEMOIZE", &M::memoize);

  refused('I', "INT"), refused('L', "LONG"), refused(0x8b, "LONG4"), refused('F', "FLOAT");
  refused('S', "STRING"), refused('T', "BINSTRING"), refused('U', "SHORT_BINSTRING"), refused('V', "UNICODE");
  refused('B', "BINBYTES"), refused('C', "SHORT_BINBYTES"), refused(0x8e, "BINBYTES8"), refused(0x96, "BYTEARRAY8");
  refused(0x8d, "BINUNICODE8"), refused(0x97, "NEXT_BUFFER"), refused(0x98, "READONLY_BUFFER");
  refused('l', "LIST"), refused('d', "DICT"), refused(0x8f, "EMPTY_SET"), refused(0x90, "ADDITEMS");
  refused(0x91, "FROZENSET"), refused('0', "POP"), refused('1', "POP_MARK"), refused('2', "DUP");
  refused('g', "GET"), refused('p', "PUT"), refused('P', "PERSID");
  refused(0x82, "EXT1"), refused(0x83, "EXT2"), refused(0x84, "EXT4");
  refused('i', "INST"), refused('o', "OBJ"), refused(0x81, "NEWOBJ"), refused(0x92, "NEWOBJ_EX");
  return table;
}

}  // namespace rrhf::format
