#include "rrhf/format/pickle.h"

#include <array>

#include "archives.h"
#include "support.h"

namespace rrhf::format {
namespace {

using namespace rrhf::testing;
using namespace std::string_literals;

constexpr std::array<std::string_view, 2> globals{"collections.OrderedDict", "torch.FloatStorage"};

Pickle parse(const std::string& pickle) { return parse_pickle(bytes_of(pickle), globals, "data.pkl"); }
std::string refusal(const std::string& pickle) {
  return refusal_of([&] { parse(pickle); });
}
// Of opcodes between PROTO and STOP.
std::string refusal_of_ops(const std::string& ops) { return refusal(pickle_of(ops)); }

TEST(Pickle, TakesNoMoreMemoryThanItIsGiven) {
  // Each of these asks for some ten times its own bytes or more: tuples of a tuple, items of a dict, slots of the memo.
  for (const char* repeated : {"\x85", "}a", "\x94"}) {
    std::string ops = repeated[0] == '}' ? "]" : ")";
    for (int i = 0; i < 100'000; ++i) ops += repeated;
    const std::string file = pickle_of(ops);
    const auto within = [&](std::size_t memory) {
      return refusal_of([&] { parse_pickle(bytes_of(file), globals, "data.pkl", memory); });
    };
    EXPECT_NE(within(1'000'000).find("takes more memory than a file of this size warrants"), std::string::npos)
        << repeated;
    EXPECT_EQ(within(32'000'000), "accepted") << repeated;
  }
}

TEST(Pickle, ReadsPlainValues) {
  // (1, 300, -2, 2**40, "né", None, True, [1.5], {"k": False})
  const std::string file =
      pickle_of("(K\1M\x2c\1J"s + le(-2) + "\x8a\6"s + le<std::uint32_t>(0) + "\0\1"s + "X" + le<std::uint32_t>(3) +
                "n\xc3\xa9N\x88]G" + std::string(8, '\0') + "a}\x8c\1k\x89st");
  const Pickle pickle = parse(file);
  ASSERT_EQ(pickle.root().kind, PickleKind::tuple);
  const auto items = pickle.items(pickle.root());
  ASSERT_EQ(items.size(), 9u);
  EXPECT_EQ(items[0].number, 1);
  EXPECT_EQ(items[1].number, 300);
  EXPECT_EQ(items[2].number, -2);
  EXPECT_EQ(items[3].number, std::int64_t{1} << 40);
  EXPECT_EQ(pickle.text(items[4]), "n\xc3\xa9");
  EXPECT_EQ(items[5].kind, PickleKind::none);
  EXPECT_EQ(items[6].kind, PickleKind::boolean);
  EXPECT_EQ(items[6].number, 1);
  ASSERT_EQ(pickle.items(items[7]).size(), 1u);
  EXPECT_EQ(pickle.items(items[7])[0].kind, PickleKind::real);
  const auto dict = pickle.items(items[8]);
  ASSERT_EQ(dict.size(), 2u);
  EXPECT_EQ(pickle.text(dict[0]), "k");
  EXPECT_EQ(dict[1].number, 0);
}

TEST(Pickle, ReadsIntegersOfEveryLength) {
  // pickle.dumps(x, 2) in Python: 0 is LONG1 of no bytes, 255 needs a second byte for its sign, -128 one.
  const auto value = [](const std::string& ops) {
    const std::string file = pickle_of(ops);
    return parse(file).root().number;
  };
  EXPECT_EQ(value("\x8a\0"s), 0);
  EXPECT_EQ(value("\x8a\2\xff\0"s), 255);
  EXPECT_EQ(value("\x8a\1\x80"s), -128);
  EXPECT_EQ(value("\x8a\x08"s + le(std::int64_t{-1} << 63)), std::int64_t{-1} << 63);
  EXPECT_TRUE(says(refusal_of_ops("\x8a\x09"s + std::string(9, '\0')), "an integer of 9 bytes"));
}

TEST(Pickle, KeepsCallsAndPersistentIdsAsValues) {
  const std::string file = pickle_of("ctorch\nFloatStorage\n)RQ");
  const Pickle pickle = parse(file);
  ASSERT_EQ(pickle.root().kind, PickleKind::persistent);
  const PickleValue call = pickle.items(pickle.root())[0];
  ASSERT_EQ(call.kind, PickleKind::call);
  EXPECT_EQ(pickle.text(pickle.items(call)[0]), "torch.FloatStorage");
  EXPECT_TRUE(pickle.items(pickle.items(call)[1]).empty());
}

TEST(Pickle, OrderedDictsAreDictsAndTheirAttributesAreDropped) {
  // As torch.save writes a state dict with its _metadata: REDUCE, SETITEMS, BUILD.
  const std::string file =
      pickle_of("ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0aK\1X\1\0\0\0bK\2u}X\x9\0\0\0_metadata"s + "h\0)Rsb"s);
  const Pickle pickle = parse(file);
  ASSERT_EQ(pickle.root().kind, PickleKind::dict);
  ASSERT_EQ(pickle.items(pickle.root()).size(), 4u);
  EXPECT_EQ(pickle.text(pickle.items(pickle.root())[2]), "b");
}

TEST(Pickle, ReadsProtocolFour) {
  // pickletools.dis of torch.save({...}, pickle_protocol=4): FRAME, MEMOIZE, SHORT_BINUNICODE, STACK_GLOBAL.
  const std::string body =
      "}\x94\x8c\5torch\x94\x8c\x0c"
      "FloatStorage\x94\x93\x94\x8c\1k\x94h\3s."s;
  const std::string file = "\x80\4\x95"s + le(static_cast<std::uint64_t>(body.size())) + body;
  EXPECT_TRUE(says(refusal(file), "needs a dict"));  // SETITEM takes two values: the dict lies deeper
  const std::string right =
      "}\x94\x8c\1k\x94\x8c\5torch\x94\x8c\x0c"
      "FloatStorage\x94\x93\x94s."s;
  const std::string good = "\x80\4\x95"s + le(static_cast<std::uint64_t>(right.size())) + right;
  const Pickle pickle = parse(good);
  EXPECT_EQ(pickle.text(pickle.items(pickle.root())[1]), "torch.FloatStorage");
  EXPECT_TRUE(says(refusal("\x80\4\x95"s + le<std::uint64_t>(99) + right), "a frame of 99 bytes goes beyond"));
}

TEST(Pickle, NamesTheGlobalItRefusesAndWhereItStands) {
  EXPECT_TRUE(
      says(refusal_of_ops("cos\nsystem\nX\4\0\0\0true\x85R"s), "data.pkl: byte 2 (GLOBAL): asks for os.system"));
  EXPECT_TRUE(says(refusal_of_ops("\x8c\2os\x8c\6system\x93"), "byte 14 (STACK_GLOBAL): asks for os.system"));
  EXPECT_TRUE(says(refusal_of_ops("ctorch\nFloatStorag\n"), "torch.FloatStorag,"));
  EXPECT_TRUE(says(refusal_of_ops("ctorchx\nFloatStorage\n"), "torchx.FloatStorage"));
  EXPECT_TRUE(says(refusal_of_ops("ctor\x1b[1mch\nx\n"), "tor?[1mch.x"));  // nothing a terminal would act on
  EXPECT_TRUE(says(refusal_of_ops("c" + std::string(400, 'a')), "a name does not end"));
  EXPECT_TRUE(says(refusal_of_ops("\x8c\2osK\1\x93"), "must be text"));
}

TEST(Pickle, NamesTheOpcodeItRefuses) {
  EXPECT_TRUE(says(refusal_of_ops("(ios\nsystem\n"), "byte 3 (INST): 0x69 is not among the opcodes"));
  EXPECT_TRUE(says(refusal_of_ops("N0"), "byte 3 (POP): 0x30 is not"));
  EXPECT_TRUE(says(refusal_of_ops("\xff"), "byte 2 (no opcode): 0xff"));
  // Every byte is either read (35 opcodes) or refused by name; nothing else happens.
  int refused = 0;
  for (int code = 0; code < 256; ++code) {
    const std::string message = refusal_of_ops(std::string(1, static_cast<char>(code)));
    refused += message.find("is not among the opcodes") != std::string::npos;
  }
  EXPECT_EQ(refused, 256 - 35);
}

TEST(Pickle, RefusesBrokenStacks) {
  for (const char* ops : {"", "a", "s", "R", "b", "Q", "\x85", "\x87", "N\x86", "(\x85t", "(a", "](Nb"}) {
    EXPECT_TRUE(says(refusal_of_ops(ops), "the stack is empty")) << ops;
  }
  for (const char* ops : {"t", "e", "u"}) EXPECT_TRUE(says(refusal_of_ops(ops), "no mark on the stack")) << ops;
  EXPECT_TRUE(says(refusal_of_ops("NN"), "1 values are left over"));
  EXPECT_TRUE(says(refusal_of_ops("N("), "the stack is empty"));
  EXPECT_TRUE(says(refusal_of_ops("}(Nu"), "a key has no value"));
  EXPECT_TRUE(says(refusal_of_ops("}Na"), "needs a list, found a dict"));
  EXPECT_TRUE(says(refusal_of_ops("]NNs"), "needs a dict, found a list"));
  EXPECT_TRUE(says(refusal_of_ops("]Nb"), "needs a dict, found a list"));
  EXPECT_TRUE(says(refusal_of_ops("N)R"), "a call of None with a tuple"));
  EXPECT_TRUE(says(refusal_of_ops("ccollections\nOrderedDict\n]\x85R"), "with arguments"));
  EXPECT_TRUE(says(refusal_of_ops("h\0"s), "memo slot 0 was never filled"));
  EXPECT_TRUE(says(refusal_of_ops("Nq\1"s), "memo slot 1 after 0"));
  EXPECT_TRUE(says(refusal_of_ops("Nr\xff\xff\xff\xff"s), "memo slot 4294967295 after 0"));
  EXPECT_TRUE(says(refusal_of_ops("q\0"s), "the stack is empty"));
  EXPECT_TRUE(says(refusal_of_ops("X\2\0\0\0\xff\xfe"s), "not valid UTF-8"));
}

TEST(Pickle, RefusesWhatIsNoWholePickle) {
  EXPECT_TRUE(says(refusal(""), "does not begin with its protocol"));
  EXPECT_TRUE(says(refusal("(dp0\n."), "does not begin with its protocol"));
  EXPECT_TRUE(says(refusal("\x80\1N."), "protocol 1 is not read"));
  EXPECT_TRUE(says(refusal("\x80\6N."), "protocol 6 is not read"));
  EXPECT_TRUE(says(refusal_of_ops("\x80\2N"), "byte 2 (PROTO): stands in the middle"));
  EXPECT_TRUE(says(refusal(pickle_of("N") + "more"), "the pickle ends here, and 4 bytes follow"));
}

TEST(Pickle, RefusesEveryTruncation) {
  const std::string file = state_dict_pickle({{}});
  constexpr std::array<std::string_view, 3> all{"collections.OrderedDict", "torch.FloatStorage",
                                                "torch._utils._rebuild_tensor_v2"};
  parse_pickle(bytes_of(file), all, "data.pkl");
  for (std::size_t length = 0; length < file.size(); ++length) {
    const std::string cut = file.substr(0, length);
    EXPECT_NE(refusal_of([&] { parse_pickle(bytes_of(cut), all, "data.pkl"); }), "accepted") << length;
  }
}

TEST(Pickle, DepthCostsNoStack) {
  // A tuple in a tuple, two million deep: built and destroyed. Recursion over it would need some 100 MB of stack.
  const std::string deep = pickle_of("N" + std::string(2'000'000, '\x85'));
  EXPECT_EQ(parse_pickle(bytes_of(deep), globals, "data.pkl", 1'000'000'000).root().kind, PickleKind::tuple);
  EXPECT_TRUE(says(refusal_of_ops(std::string(70'000, '(')), "more than 65536 marks"));
  EXPECT_TRUE(says(refusal_of_ops(std::string(70'000, 'N')), "more than 65536 values"));
}

TEST(Pickle, CyclesAreHarmless) {
  const std::string file = pickle_of("]q\0h\0a"s);
  const Pickle pickle = parse(file);
  EXPECT_EQ(pickle.items(pickle.root())[0].number, pickle.root().number);
}

TEST(Pickle, ClaimsOfLengthAllocateNothing) {
  EXPECT_TRUE(says(refusal_of_ops("X\xff\xff\xff\xff"s), "truncated"));
  EXPECT_TRUE(says(refusal("\x80\4\x95\0\0\0\0\0\0\0\x10"s), "a frame of 1152921504606846976 bytes"));
}

}  // namespace
}  // namespace rrhf::format
