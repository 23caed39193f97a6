#compdef llmseg

_llmseg_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _LLMSEG_COMPLETE=complete_zsh llmseg)
}

compdef _llmseg_completion llmseg
