#include "rrhf/cli/chat.h"

#include <ATen/Parallel.h>

#include <cstdio>
#include <string>

#include "rrhf/cli/answer_stream.h"
#include "rrhf/cli/chat_input.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/unicode.h"

namespace rrhf::cli {
namespace {

constexpr std::string_view help = R"(/reset           forget what was said; the next query stands alone
/template NAME   none, alpaca, alpaca-split, or a text file with {query}; forgets what was said
/help            this text
/quit            leave, as Ctrl-D does
A line that ends with \ goes on in the next one. // at the beginning stands for a / of the query.
Ctrl-C stops an answer; at the prompt it drops the line, and twice leaves.)";

// Models tuned on the Alpaca prompt have seen one query and one answer, never a dialogue.
bool each_turn_alone(const text::PromptTemplate& prompt_template) {
  return prompt_template.name() == "alpaca" || prompt_template.name() == "alpaca-split";
}

std::string describe_model(const workflow::Answerer& answerer) {
  const model::LlamaConfig& config = answerer.config();
  const int threads = at::get_num_threads();
  return fmt::format("rrhf {}   LLaMA {} ({} x {}, {} heads)   {}, {} thread{}   context {}", RRHF_VERSION,
                     short_number(static_cast<double>(config.parameter_count())), config.num_hidden_layers,
                     config.hidden_size, config.num_attention_heads, name_of(answerer.settings().dtype), threads,
                     threads == 1 ? "" : "s", with_commas(answerer.context_length()));
}

class Chat {
 public:
  Chat(const workflow::Answerer& answerer, bool own_stops)
      : answerer_(answerer),
        template_(answerer.prompt_template()),
        decoding_(answerer.settings().decoding),
        own_stops_(own_stops) {}

  void run() {
    log_line(describe_model(answerer_));
    log_line("template " + describe_template() + "\n/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves");
    while (!left_) {
      const ChatInput::Typed typed = input_.read("> ");
      if (typed.kind == ChatInput::Kind::line) {
        interrupts_ = 0;
        take(read_on(typed.text));
      } else if (typed.kind == ChatInput::Kind::too_long) {
        refuse_long_line();
      } else {
        fmt::print(stderr, "\n");
        left_ = typed.kind == ChatInput::Kind::end || ++interrupts_ == 2;
        if (!left_) log_line("(Ctrl-C once more leaves)");
      }
    }
  }

 private:
  // A line with those that a \ at its end takes in.
  std::string read_on(std::string line) {
    while (line.ends_with('\\')) {
      line.back() = '\n';
      const ChatInput::Typed more = input_.read(". ");
      if (more.kind == ChatInput::Kind::end) line.pop_back();
      if (more.kind == ChatInput::Kind::interrupt) {
        fmt::print(stderr, "\n");
        return {};
      }
      if (more.kind == ChatInput::Kind::too_long) {
        refuse_long_line();
        return {};
      }
      line += more.text;
    }
    return line;
  }

  static void refuse_long_line() {
    log_line(
        fmt::format("(not asked: a terminal passes on no more than {} bytes of a line, so this one may lack its end; "
                    "end lines with \\ to go on in the next, or ask by --prompt)",
                    with_commas(ChatInput::longest_line)));
  }

  void take(const std::string& line) {
    if (strip(line).empty()) return;
    if (line.starts_with("//")) return answer(line.substr(1));
    if (line.front() != '/') return answer(line);
    const std::size_t space = line.find(' ');
    const std::string rest(space == std::string::npos ? "" : strip(std::string_view(line).substr(space)));
    command(std::string(strip(line.substr(0, space))), rest);
  }

  void command(const std::string& name, const std::string& argument) {
    if (name == "/quit" || name == "/exit") {
      left_ = true;
    } else if (name == "/reset") {
      said_.clear();
      log_line("(forgotten)");
    } else if (name == "/template") {
      change_template(argument);
    } else if (name == "/help") {
      log_line(help);
    } else {
      log_line("(" + name + " is no command; /help lists them)");
    }
  }

  void change_template(const std::string& name) {
    try {
      if (!name.empty()) {
        template_ = text::PromptTemplate::named(name);
        if (!own_stops_) decoding_.stop = workflow::default_stops(name);
        said_.clear();
      }
      log_line("(template " + describe_template() + ")");
    } catch (const InputError& failure) {
      log_line(failure.what());
    }
  }

  std::string describe_template() const {
    return template_.name() +
           (each_turn_alone(template_) ? ": every query stands alone" : ": the dialogue goes on, /reset begins anew");
  }

  // What the model is to go on with.
  std::string prompt_for(const std::string& query) const {
    if (said_.empty()) return template_.apply(query);
    return said_ + (template_.name() == "none" ? "\n" : "") + template_.apply(query);
  }

  void answer(const std::string& query) {
    if (template_.would_wrap_twice(query)) {
      return log(
          "(the query already carries the Alpaca template, which template {} would put around it again; "
          "/template none takes it as it is)",
          template_.name());
    }
    const std::string prompt = prompt_for(query);
    workflow::PromptIds read = answerer_.prompt_ids(prompt);
    if (read.cut) {
      log("(only the last {} tokens are read: --max-prompt-tokens)", with_commas(std::ssize(read.ids)));
    }
    const generate::Request request{std::move(read.ids), turn_++};
    const std::int64_t own = answerer_.beginning().bos_before_answer ? 1 : 0;
    const std::int64_t room = answerer_.context_length() - std::ssize(request.prompt) - own;
    if (room < 1) {
      return log("({} {} tokens, the model {} positions{})",
                 said_.empty() ? "too long: this query has" : "full: what was said and this query have",
                 with_commas(std::ssize(request.prompt)), with_commas(answerer_.context_length()),
                 said_.empty() ? "" : "; /reset begins anew");
    }
    ChatInput::forget();
    const ShownAnswer shown = show_answer(answerer_.generator(decoding_), request, ChatInput::interrupted);
    ChatInput::forget();
    fmt::print("\n");
    std::fflush(stdout);
    say_how_it_ended(shown, room);
    if (!each_turn_alone(template_)) said_ = prompt + space_before(shown) + shown.text;
  }

  // A text of its own loses the space that its first word brings; behind the prompt it stands.
  const char* space_before(const ShownAnswer& shown) const {
    const bool word = !shown.tokens.empty() && answerer_.tokenizer().piece(shown.tokens.front()).starts_with("▁");
    return word ? " " : "";
  }

  void say_how_it_ended(const ShownAnswer& shown, std::int64_t room) const {
    if (shown.ending == generate::Ending::cancelled) log_line("(stopped)");
    if (shown.empty_by_eos) log_line("(empty: the model said EOS first)");
    if (shown.ending != generate::Ending::length) return;
    if (room <= decoding_.max_new_tokens) {
      log("(full: the model's {} positions are used up{})", with_commas(answerer_.context_length()),
          each_turn_alone(template_) ? "" : "; /reset begins anew");
    } else {
      log("(cut at {} tokens; --max-new-tokens allows more)", decoding_.max_new_tokens);
    }
  }

  const workflow::Answerer& answerer_;
  text::PromptTemplate template_;
  DecodingOptions decoding_;
  bool own_stops_;
  ChatInput input_;
  std::string said_;        // prompts and answers so far, where the dialogue goes on
  std::uint64_t turn_ = 0;  // keys the random streams
  int interrupts_ = 0;      // Ctrl-C at the prompt, one after the other
  bool left_ = false;
};

}  // namespace

void chat(const workflow::Answerer& answerer, bool own_stops) { Chat(answerer, own_stops).run(); }

}  // namespace rrhf::cli
